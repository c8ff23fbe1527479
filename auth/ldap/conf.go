package ldap

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"gopgpool/auth/outside"
)

// confFiles are the places of ldap.conf in distributions.
func confFiles() []string {
	return []string{"/etc/ldap/ldap.conf", "/etc/openldap/ldap.conf", "/usr/local/etc/openldap/ldap.conf"}
}

// settings are what ldap.conf(5) says about TLS, by the names in capitals.
type settings map[string]string

func keywords() []string {
	return []string{"TLS_CACERT", "TLS_CACERTDIR", "TLS_REQCERT", "TLS_PROTOCOL_MIN", "TLS_CRLCHECK", "TLS_CRLFILE"}
}

// readSettings reads the system's ldap.conf, then the one of LDAPCONF, then variables like LDAPTLS_CACERT; the last word counts.
func (l *login) readSettings() (settings, error) {
	s := settings{}
	if l.getenv("LDAPNOINIT") != "" {
		return s, nil
	}
	for _, file := range l.confFiles {
		text, err := os.ReadFile(file)
		if err == nil {
			s.parse(string(text))
			break
		}
	}
	if file := l.getenv("LDAPCONF"); file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		s.parse(string(text))
	}
	for _, name := range keywords() {
		if value := l.getenv("LDAP" + name); value != "" {
			s[name] = value
		}
	}
	return s, nil
}

// parse takes lines of a keyword and its value; those of others are none of our business.
func (s settings) parse(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		name, value = strings.ToUpper(name), strings.TrimSpace(value)
		if value == "" {
			continue
		}
		for _, known := range keywords() {
			if name == known {
				s[name] = value
			}
		}
	}
}

// security is how a server is made sure of. The zero value serves connections without TLS.
type security struct {
	roots   *x509.CertPool // nil: the system's
	trusted bool           // whatever certificate it has
	least   uint16         // version of TLS
}

// config is for one server.
func (s security) config(host string) *tls.Config {
	return &tls.Config{ServerName: host, RootCAs: s.roots, InsecureSkipVerify: s.trusted, MinVersion: s.least}
}

// readSecurity reads ldap.conf if it matters. What cannot be read or obeyed is an error: connecting with less than was asked for is not
// ours to decide.
func (l *login) readSecurity() (security, error) {
	if !l.options.LDAPS && !l.options.StartTLS {
		return security{}, nil
	}
	s, err := l.readSettings()
	if err != nil {
		return security{}, outside.New(outside.Unusable, "LDAPCONF cannot be read", err)
	}
	made, err := s.security(l.authorities)
	if err != nil {
		return security{}, outside.New(outside.Unusable, "the TLS settings of ldap.conf cannot be used", err)
	}
	return made, nil
}

func (s settings) security(known *authorities) (security, error) {
	least, err := s.leastVersion()
	if err != nil {
		return security{}, err
	}
	made := security{least: least}
	switch required := strings.ToLower(s["TLS_REQCERT"]); required {
	case "never", "allow":
		made.trusted = true
		return made, nil
	case "", "try", "demand", "hard":
	default:
		return security{}, fmt.Errorf("TLS_REQCERT %s is none of never, allow, try, demand, hard", required)
	}
	if check := strings.ToLower(s["TLS_CRLCHECK"]); s["TLS_CRLFILE"] != "" || check != "" && check != "none" {
		return security{}, errors.New("certificate revocation lists (TLS_CRLCHECK, TLS_CRLFILE) are not supported here")
	}
	made.roots, err = known.read(s["TLS_CACERT"], s["TLS_CACERTDIR"])
	return made, err
}

// leastVersion reads TLS_PROTOCOL_MIN, which counts as the protocol does: 3.3 is TLS 1.2. Less than that there is not.
func (s settings) leastVersion() (uint16, error) {
	switch version := s["TLS_PROTOCOL_MIN"]; version {
	case "", "0", "3", "2.0", "3.0", "3.1", "3.2", "3.3":
		return tls.VersionTLS12, nil
	case "3.4":
		return tls.VersionTLS13, nil
	default:
		return 0, fmt.Errorf("unknown version in TLS_PROTOCOL_MIN %s", version)
	}
}
