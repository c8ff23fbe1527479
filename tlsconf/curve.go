package tlsconf

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// usualCurve is the default of ssl_ecdh_curve. It stands for "nobody has chosen": see [curves].
const usualCurve = "prime256v1"

// curves reads ssl_ecdh_curve: names with colons between them. The default is no restriction, nil: what crypto/tls offers has
// P-256 among it, and a default is no reason to forgo the hybrid key exchange that outlasts quantum computers. Any other
// value is what it says, and nothing else is offered.
func curves(list string) ([]tls.CurveID, error) {
	if list == "" || list == usualCurve {
		return nil, nil
	}
	var ids []tls.CurveID
	for name := range strings.SplitSeq(list, ":") {
		id, ok := curve(strings.TrimSpace(name))
		if !ok {
			return nil, fmt.Errorf("no such curve: %q", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// curve knows the names of OpenSSL, of NIST and of the registry.
func curve(name string) (tls.CurveID, bool) {
	switch strings.ToLower(name) {
	case "prime256v1", "secp256r1", "p-256":
		return tls.CurveP256, true
	case "secp384r1", "p-384":
		return tls.CurveP384, true
	case "secp521r1", "p-521":
		return tls.CurveP521, true
	case "x25519":
		return tls.X25519, true
	case "x25519mlkem768":
		return tls.X25519MLKEM768, true
	case "secp256r1mlkem768":
		return tls.SecP256r1MLKEM768, true
	case "secp384r1mlkem1024":
		return tls.SecP384r1MLKEM1024, true
	}
	return 0, false
}
