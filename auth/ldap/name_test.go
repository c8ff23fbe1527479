package ldap

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"gopgpool/auth"
)

func TestNames(t *testing.T) {
	t.Parallel()
	dn, domain := auth.LDAPOptions{Prefix: "cn=", Suffix: ",dc=x"}, auth.LDAPOptions{Prefix: `CORP\`}
	mail, bare := auth.LDAPOptions{Suffix: "@corp.example"}, auth.LDAPOptions{}
	for _, tc := range []struct {
		options auth.LDAPOptions
		user    string
		want    string // "" if refused
	}{
		{dn, "alice", "cn=alice,dc=x"},
		{dn, `a,b+c"d\e<f>g;h`, `cn=a\,b\+c\"d\\e\<f\>g\;h,dc=x`},
		{dn, " alice ", `cn=\ alice\ ,dc=x`},
		{dn, "#1", `cn=\#1,dc=x`},
		{dn, "a\x00b", ""},
		{dn, "a\x8cb", ""},
		{dn, " ", ""},
		{dn, "", ""},
		{domain, "alice", `CORP\alice`},
		{domain, `OTHER\alice`, ""},
		{domain, "cn=alice,dc=x", ""},
		{mail, "alice", "alice@corp.example"},
		{mail, "alice@other.example", ""},
		{bare, "alice@corp.example", "alice@corp.example"},
		{bare, "", ""},
	} {
		got := ""
		if checkUser(tc.options, tc.user) == nil {
			got = bindName(tc.options, tc.user)
		}
		if got != tc.want {
			t.Errorf("%+q: %q, want %q", tc.user, got, tc.want)
		}
	}
}

func TestDomainOf(t *testing.T) {
	t.Parallel()
	for dn, want := range map[string]string{
		"dc=example,dc=org":           "example.org",
		"ou=a, DC=example , dc=org":   "example.org",
		"dc=x,ou=a,dc=example,dc=org": "example.org",
		"ou=a":                        "",
		"dc=example,o=a":              "",
		"":                            "",
		"dc=":                         "",
		"nonsense":                    "",
	} {
		if got := domainOf(dn); got != want {
			t.Errorf("%s: %q, want %q", dn, got, want)
		}
	}
}

// Whatever the user is called, the name has the parts of the options and one value that is the user's.
func FuzzBindName(f *testing.F) {
	for _, user := range []string{"alice", "a,b", " a ", "#", `\`, "ü", "a\x00", "=", "+uid=b"} {
		f.Add(user)
	}
	o := auth.LDAPOptions{Prefix: "uid=", Suffix: ",ou=people,dc=example"}
	search := auth.LDAPOptions{Search: true, SearchFilter: "(&(uid=$username)(cn=x))"}
	f.Fuzz(func(t *testing.T, user string) {
		if checkUser(o, user) == nil {
			dn, err := ldap.ParseDN(bindName(o, user))
			if err != nil {
				t.Skip("no name that a server would take: ", err)
			}
			if len(dn.RDNs) != 3 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != user {
				t.Errorf("%q became %s", user, dn)
			}
		}
		if checkUser(search, user) != nil {
			return
		}
		packet, err := ldap.CompileFilter(filter(search, user))
		if err != nil {
			t.Fatalf("%q: %v", user, err)
		}
		if len(packet.Children) != 2 || !strings.HasSuffix(filter(search, user), ")(cn=x))") {
			t.Errorf("%q became %s", user, filter(search, user))
		}
	})
}
