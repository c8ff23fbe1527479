package auth

import (
	"io/fs"
	"net/netip"
	"strings"
	"testing"
)

// mirrors is a world where some paths lead to the text itself, some to others, and some nowhere.
func mirrors(text string) Files {
	return Files{
		Read: func(path string) ([]byte, error) {
			switch {
			case strings.HasSuffix(path, "y"):
				return []byte(text), nil
			case strings.HasSuffix(path, "z"):
				return nil, fs.ErrNotExist
			}
			return []byte("x1, x2\nx3 @" + path + "y"), nil
		},
		List: func(dir string) ([]string, error) { return []string{"b.conf", ".a.conf", dir, "ay"}, nil },
	}
}

func FuzzParseHBA(f *testing.F) {
	f.Add("local all all trust\nhost all all 10.0.0.0/8 md5 # c\n", "d", "u")
	f.Add("host \"a b\",@x +g 10.0.0.1 255.0.0.0 scram-sha-256\n", "a b", "u")
	f.Add("hostssl samerole all .example.com password pamservice=\"a b\"\r\n", "d", "u")
	f.Add("hostnossl sameuser @y samenet reject", "u", "u")
	f.Add("include y\ninclude_if_exists z\ninclude_dir d\nlocal all \\\nall peer map=m", "u", "u")
	f.Add("hostssl /^d\\d \"/a,b\" all cert map=m clientname=DN", "d1", "a,b")
	f.Add("hostgssenc all +\"a b\" samehost ldap ldapurl=\"ldap://h:1/b?a?one?\" ldapbindpasswd=xyzzy", "d1", "a,b")
	f.Fuzz(func(t *testing.T, text, db, user string) {
		if len(text) > 1<<12 {
			return
		}
		rules, errs := ParseHBA("/etc/pool_hba.conf", []byte(text), mirrors(text), HBAOptions{})
		if (rules == nil) != (len(errs) > 0) {
			t.Fatalf("rules %v, errors %v", rules, errs)
		}
		if rules != nil && rules.Len() == 0 {
			t.Fatal("no record and no error")
		}
		for _, c := range []Client{
			{Local: true},
			{},
			{Addr: netip.MustParseAddr("10.1.2.3"), Names: []string{"a.example.com"}, Roles: []string{db, user}},
			{Addr: netip.MustParseAddr("::ffff:10.1.2.3"), TLS: true, Interfaces: []netip.Prefix{netip.MustParsePrefix("::1/0"), {}}},
		} {
			needs := rules.Needs(c, db, user)
			rule, reason := rules.Match(c, db, user)
			if rule.Method.String() == "none" || reason.Verdict == NoRecord && rule.Method != MethodReject {
				t.Fatalf("%+v %v", rule, reason)
			}
			if c.Roles = []string{"other"}; !needs.Roles {
				if _, other := rules.Match(c, db, user); other != reason {
					t.Fatalf("roles change the record from %v to %v, and are not needed", reason, other)
				}
			}
		}
		for _, rule := range rules.List() {
			checkRoundTrip(t, &rule)
		}
	})
}

// checkRoundTrip reads the text of a record: it must be understood as the record was.
func checkRoundTrip(t *testing.T, rule *Rule) {
	t.Helper()
	text := rule.String()
	if rule.LDAP.BindPassword != "" && rule.LDAP.BindPassword != hidden && strings.Contains(text, "ldapbindpasswd="+rule.LDAP.BindPassword) {
		t.Fatalf("%q tells the password", text)
	}
	if rule.LDAP.Scope != LDAPScopeSub || len(text) > maxHBALine {
		return // made by a URL; longer than what was read
	}
	again, errs := ParseHBA("/etc/x", []byte(text), Files{}, HBAOptions{})
	if len(errs) > 0 {
		t.Fatalf("%q: %v", text, errs)
	}
	if got := again.list[0].String(); got != text {
		t.Fatalf("%q becomes %q", text, got)
	}
}

func FuzzParseIdent(f *testing.F) {
	f.Add("m /^(.*)@example\\.com$ \\1\nm \"a b\" all", "bob@example.com", "bob")
	f.Add("m x +g\nm x /^a\ninclude y", "x", "ab")
	f.Fuzz(func(t *testing.T, text, system, role string) {
		if len(text) > 1<<12 {
			return
		}
		idents, errs := ParseIdent("/etc/pool_ident.conf", []byte(text), mirrors(text))
		if (idents == nil) != (len(errs) > 0) {
			t.Fatalf("records %v, errors %v", idents, errs)
		}
		if idents.Allows("m", "", role) || idents.Allows("m", system, "") {
			t.Fatal("nobody is somebody")
		}
		if idents.Allows("m", system, role) && !idents.Allows("m", system, role, role, "g") {
			t.Fatal("roles take away")
		}
		for _, record := range idents.List() {
			again, errs := ParseIdent("/etc/x", []byte(record.String()), Files{})
			if line := record.String(); len(line) <= maxHBALine && (len(errs) > 0 || again.list[0].String() != line) {
				t.Fatalf("%q: %v", line, errs)
			}
		}
	})
}

func FuzzLDAPURL(f *testing.F) {
	f.Add("ldap://host:389/dc=example,dc=org?uid,cn?sub?(uid=$username)?!x")
	f.Add("ldaps://[::1]:636/dc=%20?cn")
	f.Fuzz(func(t *testing.T, text string) {
		u, problem := parseLDAPURL(text)
		if problem == "" && (u.port < 0 || u.port > 65535 || strings.ContainsAny(u.host, " []") || !u.search && u.baseDN != "") {
			t.Fatalf("%+v", u)
		}
	})
}
