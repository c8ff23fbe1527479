package authparts

import (
	"errors"
	"net"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func TestSlapd(t *testing.T) {
	t.Parallel()
	s := StartSlapd(t, SlapdOptions{})
	dn := s.AddUser(t, "alice, the (first)", "secret")
	bind := func(password string) error {
		c, err := ldap.DialURL(s.URL)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }() // all was answered
		return c.Bind(dn, password)
	}
	if err := bind("secret"); err != nil {
		t.Error(err)
	}
	if err := bind("wrong"); !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		t.Error(err)
	}
	s.Stop(t)
	if _, err := net.Dial("tcp", s.address(s.Port)); err == nil {
		t.Error("a stopped server accepts connections")
	} else if op := (*net.OpError)(nil); !errors.As(err, &op) {
		t.Error(err)
	}
}
