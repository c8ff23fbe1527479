package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Peer is what a client's certificate says of it.
type Peer struct {
	Presented bool
	Verified  bool   // chain and lists of revoked certificates were checked
	CN        string // the first CN of the subject; "" if there is none, or if a NUL byte in it would let it look like another
	DN        string // the subject in the form of RFC 2253, as OpenSSL prints it with -nameopt RFC2253
}

// PeerOf reads the certificate of a client that has shaken hands by a configuration of [ForClients].
func PeerOf(cs *tls.ConnectionState) Peer {
	if len(cs.PeerCertificates) == 0 {
		return Peer{}
	}
	c := cs.PeerCertificates[0]
	return Peer{Presented: true, Verified: len(cs.VerifiedChains) > 0, CN: commonName(c), DN: distinguishedName(c.RawSubject)}
}

func commonName(c *x509.Certificate) string {
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	for _, a := range c.Subject.Names {
		if a.Type.Equal(cn) {
			s, _ := a.Value.(string)
			if strings.ContainsRune(s, 0) {
				return ""
			}
			return s
		}
	}
	return ""
}

// attribute is one of a relative name. Its value is read by us: crypto/x509 drops what is no text, and two names would look alike.
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// relativeNameSET is a SET by its name (encoding/asn1).
type relativeNameSET []attribute

// distinguishedName writes a subject: the last name first, and the last part of a name, with plus signs between parts; "" if it cannot be read.
func distinguishedName(raw []byte) string {
	var names []relativeNameSET
	if rest, err := asn1.Unmarshal(raw, &names); err != nil || len(rest) > 0 {
		return ""
	}
	var b strings.Builder
	for i, set := range slices.Backward(names) {
		for j, a := range slices.Backward(set) {
			a.write(&b)
			if j > 0 {
				b.WriteByte('+')
			}
		}
		if i > 0 {
			b.WriteByte(',')
		}
	}
	return b.String()
}

func (a attribute) write(b *strings.Builder) {
	oid := a.Type.String()
	name, known := attributeName(oid)
	var text string
	if _, err := asn1.Unmarshal(a.Value.FullBytes, &text); err != nil || !known {
		b.WriteString(oid + "=#" + strings.ToUpper(hex.EncodeToString(a.Value.FullBytes)))
		return
	}
	b.WriteString(name + "=")
	writeEscaped(b, text)
}

// writeEscaped writes a value by the rules of RFC 2253, bytes beyond ASCII in hexadecimal.
func writeEscaped(b *strings.Builder, s string) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(b, `\%02X`, c)
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == '#' && i == 0, c == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}

// attributeName is OpenSSL's short name of an attribute.
func attributeName(oid string) (string, bool) {
	switch oid {
	case "2.5.4.3":
		return "CN", true
	case "2.5.4.4":
		return "SN", true
	case "2.5.4.5":
		return "serialNumber", true
	case "2.5.4.6":
		return "C", true
	case "2.5.4.7":
		return "L", true
	case "2.5.4.8":
		return "ST", true
	case "2.5.4.9":
		return "street", true
	case "2.5.4.10":
		return "O", true
	case "2.5.4.11":
		return "OU", true
	case "2.5.4.12":
		return "title", true
	case "2.5.4.13":
		return "description", true
	case "2.5.4.17":
		return "postalCode", true
	case "2.5.4.41":
		return "name", true
	case "2.5.4.42":
		return "GN", true
	case "2.5.4.43":
		return "initials", true
	case "2.5.4.44":
		return "generationQualifier", true
	case "2.5.4.46":
		return "dnQualifier", true
	case "2.5.4.65":
		return "pseudonym", true
	case "0.9.2342.19200300.100.1.1":
		return "UID", true
	case "0.9.2342.19200300.100.1.25":
		return "DC", true
	case "1.2.840.113549.1.9.1":
		return "emailAddress", true
	}
	return "", false
}
