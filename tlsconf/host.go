package tlsconf

import (
	"crypto/x509"
	"fmt"
	"net"
	"strings"
)

// verifyHost checks that a certificate is that of a host, by libpq's rules: a name is looked for among the DNS names, an
// address among the addresses and then the DNS names; where there are no entries of the kind the CN counts.
func verifyHost(c *x509.Certificate, host string) error {
	// The chain is checked already; what is left is names. An address in brackets would be one for crypto/x509.
	if address := net.ParseIP(host); address != nil {
		return verifyAddress(c, host, address)
	}
	names := c.DNSNames
	if len(names) == 0 {
		names = []string{commonName(c)}
	}
	return amongNames(names, host)
}

func verifyAddress(c *x509.Certificate, host string, address net.IP) error {
	for _, ip := range c.IPAddresses {
		if ip.Equal(address) {
			return nil
		}
	}
	names := c.DNSNames
	if len(c.IPAddresses) == 0 {
		names = append(names[:len(names):len(names)], commonName(c))
	}
	for _, n := range names {
		if n == host {
			return nil
		}
	}
	return fmt.Errorf("server certificate does not match host %q", host)
}

func amongNames(names []string, host string) error {
	for _, n := range names {
		if matchName(n, host) {
			return nil
		}
	}
	return fmt.Errorf("server certificate for %q does not match host name %q", strings.Join(names, ", "), host)
}

// matchName compares a name of a certificate, whose first label may be a star, with a host's.
func matchName(pattern, host string) bool {
	pattern, host = strings.TrimSuffix(pattern, "."), strings.TrimSuffix(host, ".")
	if pattern == "" || strings.ContainsRune(pattern, 0) {
		return false
	}
	if rest, ok := strings.CutPrefix(pattern, "*."); ok {
		_, tail, found := strings.Cut(host, ".")
		return found && rest != "" && !strings.HasPrefix(host, ".") && strings.EqualFold(rest, tail)
	}
	return strings.EqualFold(pattern, host)
}
