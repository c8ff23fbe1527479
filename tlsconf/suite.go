package tlsconf

import (
	"crypto/tls"
	"slices"
	"strings"
)

// suite is a cipher suite up to TLS 1.2.
type suite struct {
	id    uint16
	names []string // OpenSSL's, the registry's
	tags  []string // the groups of OpenSSL's it belongs to
	// weak are the tags that make it insecure for crypto/tls. Such a suite is used if it is named, or one of these tags is; no
	// other group contains it.
	weak []string
}

// suites lists what crypto/tls has, the best first.
func suites() []suite {
	var all []suite
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			all = append(all, describe(s))
		}
	}
	return all
}

// describe derives from a suite's registered name what OpenSSL calls it and its groups.
func describe(s *tls.CipherSuite) suite {
	exchange, cipher, _ := strings.Cut(strings.TrimPrefix(s.Name, "TLS_"), "_WITH_")
	d := suite{id: s.ID, tags: []string{"ALL"}}
	prefix := ""
	switch exchange {
	case "RSA":
		d.tags = append(d.tags, "kRSA", "RSA", "aRSA")
		d.weak = append(d.weak, "kRSA", "RSA")
	case "ECDHE_RSA":
		prefix, d.tags = "ECDHE-RSA-", append(d.tags, "kECDHE", "kEECDH", "ECDHE", "EECDH", "ECDH", "aRSA")
	case "ECDHE_ECDSA":
		prefix, d.tags = "ECDHE-ECDSA-", append(d.tags, "kECDHE", "kEECDH", "ECDHE", "EECDH", "ECDH", "aECDSA", "ECDSA")
	}
	name, tags, weak := cipherTags(cipher)
	d.names = []string{prefix + name, s.Name}
	d.tags, d.weak = append(d.tags, tags...), append(d.weak, weak...)
	return d
}

// cipherTags is about the part of a registered name behind WITH.
func cipherTags(cipher string) (name string, tags, weak []string) {
	switch {
	case strings.HasPrefix(cipher, "CHACHA20"):
		return "CHACHA20-POLY1305", []string{"HIGH", "CHACHA20", "TLSv1.2"}, nil
	case strings.HasPrefix(cipher, "3DES"):
		return "DES-CBC3-SHA", []string{"MEDIUM", "3DES", "SHA1", "SHA", "SSLv3", "TLSv1", "TLSv1.0", "FIPS"}, []string{"3DES"}
	case strings.HasPrefix(cipher, "RC4"):
		return "RC4-SHA", []string{"MEDIUM", "RC4", "SHA1", "SHA", "SSLv3", "TLSv1", "TLSv1.0"}, []string{"RC4"}
	}
	parts := strings.Split(cipher, "_") // AES, 128, GCM or CBC, SHA256
	name, tags = "AES"+parts[1], []string{"HIGH", "AES", "AES" + parts[1], "FIPS"}
	switch {
	case parts[2] == "GCM":
		return name + "-GCM-" + parts[3], append(tags, "AESGCM", "TLSv1.2"), nil
	case parts[3] == "SHA":
		return name + "-SHA", append(tags, "SHA1", "SHA", "SSLv3", "TLSv1", "TLSv1.0"), nil
	}
	return name + "-" + parts[3], append(tags, parts[3], "TLSv1.2"), []string{parts[3]}
}
