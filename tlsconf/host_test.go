package tlsconf

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"testing"
)

// libpq's rules for verify-full.
func TestHosts(t *testing.T) {
	ip := func(s string) []net.IP { return []net.IP{net.ParseIP(s)} }
	for _, c := range []struct {
		host    string
		cn      string
		names   []string
		ips     []net.IP
		matches bool
	}{
		{"db.test", "db.test", nil, nil, true},
		{"DB.Test", "db.test", nil, nil, true},
		{"db.test", "other", []string{"a.test", "db.test"}, nil, true},
		{"db.test", "db.test", []string{"a.test"}, nil, false}, // a CN beside names does not count
		{"db.test", "db.test", nil, ip("10.0.0.1"), true},      // beside addresses it does
		{"db.test", "", nil, nil, false},
		{"db.test", "db.test\x00.evil", nil, nil, false},
		{"db.test", "", []string{"db.test\x00"}, nil, false},
		{"db.test.", "db.test", nil, nil, true},
		{"db.test", "*.test", nil, nil, true},
		{"a.db.test", "*.test", nil, nil, false}, // a star stands for one label
		{"test", "*.test", nil, nil, false},
		{".test", "*.test", nil, nil, false},
		{"db.test", "*", nil, nil, false},
		{"db.test", "*.", nil, nil, false},
		{"db.", "*.", nil, nil, false},
		{"db.test", "d*.test", nil, nil, false},
		{"db.test", "db.*", nil, nil, false},
		{"", "", []string{""}, nil, false},
		{"10.0.0.1", "x", nil, ip("10.0.0.1"), true},
		{"10.0.0.1", "10.0.0.1", nil, ip("10.0.0.2"), false},
		{"10.0.0.1", "10.0.0.1", nil, nil, true},
		{"10.0.0.1", "x", []string{"10.0.0.1"}, nil, true},
		{"10.0.0.1", "*.0.0.1", []string{"*.0.0.1"}, nil, false}, // an address is no name
		{"::1", "x", nil, ip("0:0:0:0:0:0:0:1"), true},
		{"fe80::1", "x", nil, ip("::1"), false},
	} {
		cert := &x509.Certificate{DNSNames: c.names, IPAddresses: c.ips, Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: c.cn},
		}}}
		if err := verifyHost(cert, c.host); (err == nil) != c.matches {
			t.Errorf("host %q, CN %q, names %q, addresses %v: %v", c.host, c.cn, c.names, c.ips, err)
		}
	}
}
