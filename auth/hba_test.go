package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// files is the world of included files.
type files map[string]string

func (f files) open(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

// world gives the parser those files.
func (f files) world() Files {
	list := func(dir string) ([]string, error) {
		var names []string
		for path := range f {
			if filepath.Dir(path) == dir {
				names = append(names, filepath.Base(path))
			}
		}
		if names == nil {
			return nil, fs.ErrNotExist
		}
		return names, nil
	}
	return Files{Read: f.open, List: list}
}

func mustParse(t testing.TB, text string, f files) *Rules {
	t.Helper()
	rules, errs := ParseHBA("/etc/pool_hba.conf", []byte(text), f.world(), HBAOptions{})
	if len(errs) > 0 {
		t.Fatalf("%q: %v", text, errs)
	}
	return rules
}

func TestHBALexing(t *testing.T) {
	tests := []struct {
		line string
		want string // fields by " ", tokens by "|", quoted ones in ""
	}{
		{"", ""},
		{"  # comment", ""},
		{"a b\tc\r", "a b c"},
		{"a,b c", "a|b c"},
		{"a, b c", "a|b c"},
		{"a ,b", "a b"},
		{",a,,b", "a|b"},
		{"a,", "a"},
		{`"a b",c`, `"a b"|c`},
		{`"a""b"`, `"a"b"`},
		{`a"b c"d`, "ab cd"},
		{`"all" "@x" "#"`, `"all" "@x" "#"`},
		{`a#b c`, "a"},
		{`""`, `""`},
		{`"",x`, `""|x`},
		{`"a,b"c`, `"a,bc"`},
		{`@`, "@"},
		{`"open end`, `"open end"`},
	}
	for _, tt := range tests {
		reader := hbaReader{files: files{}.world()}
		var fields []string
		for _, field := range reader.fields([]string{"f"}, 1, tt.line) {
			var tokens []string
			for _, token := range field {
				if token.Quoted {
					token.Text = `"` + token.Text + `"`
				}
				tokens = append(tokens, token.Text)
			}
			fields = append(fields, strings.Join(tokens, "|"))
		}
		if got := strings.Join(fields, " "); got != tt.want || len(reader.errs) > 0 {
			t.Errorf("%q: %q %v, want %q", tt.line, got, reader.errs, tt.want)
		}
	}
}

func TestHBALongLines(t *testing.T) {
	long := strings.Repeat("x", maxHBAToken+1)
	for text, want := range map[string]string{
		"local all all trust #" + long:                               "authentication file line too long",
		"local " + long[:8000] + "\\\n" + long[:8000] + " all trust": `authentication file token too long, skipping: "` + long[:255] + `"`,
	} {
		_, errs := ParseHBA("/etc/h", []byte("\n"+text), Files{}, HBAOptions{})
		var e *HBAError
		if len(errs) != 1 || !errors.As(errs[0], &e) || e.Text != want || e.Context() != `line 2 of configuration file "/etc/h"` {
			t.Errorf("%.300v, want %s", errs, want)
		}
	}
	if _, errs := ParseHBA("/etc/h", []byte("local "+long[:8000]+" all trust"), Files{}, HBAOptions{}); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestHBANotices(t *testing.T) {
	rules := mustParse(t, "hostssl all all all trust\nlocal all all md5 pamservice=x\nhost all all all cert\n", nil)
	for _, tt := range []struct {
		ssl, ca bool
		want    []int
	}{{false, false, []int{2, 1, 3}}, {true, false, []int{2, 3}}, {true, true, []int{2}}} {
		var lines []int
		for _, n := range rules.Notices(tt.ssl, tt.ca) {
			lines = append(lines, n.Line)
		}
		if !slices.Equal(lines, tt.want) {
			t.Errorf("ssl %t, ca %t: %v", tt.ssl, tt.ca, lines)
		}
	}
}

func TestHBANoRules(t *testing.T) {
	if rule, _ := (*Rules)(nil).Match(Client{Local: true}, "a", "u"); rule.Method != MethodReject {
		t.Error("no rules let somebody in")
	}
	if (*Idents)(nil).Allows("m", "u", "u") || !(*Idents)(nil).Allows("", "u", "u") {
		t.Error("no maps let somebody in, or keep out")
	}
}

// TestHBAMatchAllocatesNothing: a login looks at every record.
func TestHBAMatchAllocatesNothing(t *testing.T) {
	text := strings.Repeat("hostssl a,b +g,y 10.0.0.0/8 cert\nhost all z,v .example.com ldap ldapserver=h ldapprefix=x\n", 100)
	rules := mustParse(t, text+"host all all all md5", nil)
	c := tcp("10.1.2.3")
	c.Roles, c.Names = []string{"u"}, []string{"db.example.org"}
	n := testing.AllocsPerRun(100, func() {
		rules.Needs(c, "b", "u")
		if rule, _ := rules.Match(c, "b", "u"); rule.Method != MethodMD5 {
			t.Fatal(rule)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestHBAHidesPasswords: nothing that prints a rule prints its password.
func TestHBAHidesPasswords(t *testing.T) {
	rule := mustParse(t, "local all all ldap ldapserver=h ldapbasedn=b ldapbindpasswd=tell-nobody", nil).List()[0]
	if rule.LDAP.BindPassword != "tell-nobody" {
		t.Fatal("not parsed")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{rule, &rule, rule.LDAP, rule.Options(), []Rule{rule}} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, "tell-nobody") {
				t.Errorf("%s of %T: %s", verb, v, text)
			}
		}
	}
}

func tcp(addr string) Client { return Client{Addr: netip.MustParseAddr(addr)} }

// fakeDNS is a world of names.
type fakeDNS struct {
	reverse map[string][]string
	forward map[string][]netip.Addr
}

func (d fakeDNS) LookupAddr(_ context.Context, addr string) ([]string, error) {
	names, ok := d.reverse[addr]
	if !ok {
		return nil, errors.New("no such host")
	}
	return names, nil
}

func (d fakeDNS) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	addrs, ok := d.forward[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	return addrs, nil
}

func TestGatherNames(t *testing.T) {
	good := netip.MustParseAddr("::ffff:10.0.0.1") // resolvers give IPv4 addresses mapped
	dns := fakeDNS{
		reverse: map[string][]string{"10.0.0.1": {"liar.example.", "db.example.", "gone.example."}},
		forward: map[string][]netip.Addr{
			"db.example.": {netip.MustParseAddr("::1"), good}, "liar.example.": {netip.MustParseAddr("10.0.0.9")},
		},
	}
	got := GatherNames(t.Context(), dns, netip.MustParseAddr("10.0.0.1"))
	if !slices.Equal(got, []string{"db.example"}) {
		t.Errorf("%q", got)
	}
	if got := GatherNames(t.Context(), dns, netip.MustParseAddr("10.0.0.2")); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
