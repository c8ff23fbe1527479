package tlsconf

import (
	"crypto/x509"
	"encoding/asn1"
)

// parseList is x509.ParseRevocationList that also takes version 1, which `openssl ca -gencrl` writes by default: a list without
// extensions. crypto/x509 is shown one with the version added, and the signature checked over what was signed.
func parseList(der []byte) (*x509.RevocationList, error) {
	crl, err := x509.ParseRevocationList(der)
	if err == nil {
		return crl, nil
	}
	signed, second, ok := versionTwo(der)
	if !ok {
		return nil, err
	}
	crl, err2 := x509.ParseRevocationList(second)
	if err2 != nil {
		return nil, err
	}
	crl.Raw, crl.RawTBSRevocationList = der, signed
	return crl, nil
}

// versionTwo rewrites a list of version 1, which says nothing of its version, as one of version 2. signed is what its signature is about.
func versionTwo(der []byte) (signed, second []byte, ok bool) {
	var list struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return nil, nil, false
	}
	const integer = 2 // the version, had it one
	if len(list.TBS.Bytes) == 0 || list.TBS.Bytes[0] == integer {
		return nil, nil, false
	}
	signed = list.TBS.FullBytes
	two := append([]byte{integer, 1, 1}, list.TBS.Bytes...)
	list.TBS = asn1.RawValue{Class: list.TBS.Class, Tag: list.TBS.Tag, IsCompound: true, Bytes: two}
	second, err := asn1.Marshal(list)
	return signed, second, err == nil
}
