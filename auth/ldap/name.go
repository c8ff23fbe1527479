package ldap

import (
	"strings"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"gopgpool/auth"
	"gopgpool/auth/outside"
)

// checkUser refuses names that could mean something else to the directory than to PostgreSQL.
func checkUser(o auth.LDAPOptions, user string) error {
	bad := !utf8.ValidString(user) || strings.ContainsFunc(user, outside.IsControl) || !strings.ContainsFunc(user, isNotSpace)
	switch {
	case o.Search:
		bad = bad || strings.ContainsAny(user, `*()\/`)
	case !inDN(o):
		// A name of the kind DOMAIN\user or user@domain: a user must not bring another domain along.
		around := o.Prefix + o.Suffix
		for _, mark := range []string{`\`, "@", "/"} {
			bad = bad || strings.Contains(around, mark) && strings.Contains(user, mark)
		}
		bad = bad || around != "" && strings.ContainsAny(user, "=,")
	}
	if bad {
		return outside.New(outside.Refused, `invalid character in name of LDAP user "`+outside.Printable(user)+`"`, nil)
	}
	return nil
}

// inDN reports whether prefix, user and suffix make a distinguished name.
func inDN(o auth.LDAPOptions) bool { return strings.Contains(o.Prefix+o.Suffix, "=") }

// bindName is prefix, user, suffix. Within a distinguished name the user stays one value, whatever characters it has.
func bindName(o auth.LDAPOptions, user string) string {
	if inDN(o) {
		user = ldap.EscapeDN(user)
	}
	return o.Prefix + user + o.Suffix
}

// filter is the search filter, the user's name in it being a plain value.
func filter(o auth.LDAPOptions, user string) string {
	user = ldap.EscapeFilter(user)
	if o.SearchFilter != "" {
		return strings.ReplaceAll(o.SearchFilter, "$username", user)
	}
	attribute := o.SearchAttribute
	if attribute == "" {
		attribute = "uid"
	}
	return "(" + attribute + "=" + user + ")"
}

func isNotSpace(r rune) bool { return r != ' ' }
