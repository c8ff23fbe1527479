package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
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

func mustParse(t testing.TB, text string, f files) *Rules {
	t.Helper()
	rules, errs := ParseHBA("/etc/pool_hba.conf", []byte(text), f.open)
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
		reader := hbaReader{open: files{}.open}
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

func TestHBAErrors(t *testing.T) {
	tests := []struct{ line, want string }{
		{"hostgssenc all all all trust", `invalid connection type "hostgssenc"`},
		{"include x", `invalid connection type "include"`},
		{"local,host all all trust", "exactly one value is needed for connection type"},
		{"local", "end-of-line before database specification"},
		{"local all", "end-of-line before role specification"},
		{"local all all", "end-of-line before authentication method"},
		{"host all all", "end-of-line before IP address specification"},
		{"host all all 10.0.0.1", "end-of-line before netmask specification"},
		{"host all all 10.0.0.1 trust", `invalid IP mask "trust"`},
		{"host all all 10.0.0.1 ::1 trust", "IP address and mask do not match"},
		{"host all all 10.0.0.1/33 trust", `invalid CIDR mask in address "10.0.0.1/33"`},
		{"host all all 10.0.0.1/ trust", `invalid CIDR mask in address "10.0.0.1/"`},
		{"host all all 10.0.0.1/-1 trust", `invalid CIDR mask in address "10.0.0.1/-1"`},
		{"host all all 10.0.0.1/+8 trust", `invalid CIDR mask in address "10.0.0.1/+8"`},
		{"host all all ::1/129 trust", `invalid CIDR mask in address "::1/129"`},
		{"host all all 10.0.0.256/8 trust", `invalid IP address "10.0.0.256"`},
		{"host all all 10.1/8 trust", `invalid IP address "10.1"`},
		{"host all all ::z/8 trust", `invalid IP address "::z"`},
		{"host all all db.example/8 trust", `specifying both host name and CIDR mask is invalid: "db.example/8"`},
		{"host all all 10.0.0.1/32,10.0.0.2/32 trust", "exactly one value is needed for IP address specification"},
		{"local all all ident", `invalid authentication method "ident"`},
		{"local all all md5 map", "authentication option not in name=value format: map"},
		{"local all all md5 map=x", `unrecognized authentication option name: "map"`},
		{"local all all md5 clientcert=1", `unrecognized authentication option name: "clientcert"`},
		{"local all all md5 ldapurl=x", `authentication option "ldapurl" is only valid for authentication methods ldap`},
		{"local " + strings.Repeat("x", 256) + " all trust", `authentication file token too long, skipping: "` + strings.Repeat("x", 255) + `"`},
		{"local all all trust #" + strings.Repeat("x", 8190), "authentication file line too long"},
		{"local @missing all trust", `could not open secondary authentication file "@missing" as "/etc/missing": file does not exist`},
		{"local @self all trust", `could not open secondary authentication file "@self" as "/etc/self": it includes itself, or files are nested too deeply`},
	}
	for _, tt := range tests {
		rules, errs := ParseHBA("/etc/pool_hba.conf", []byte("local all all trust\n"+tt.line), files{"/etc/self": "@self"}.open)
		if rules != nil || len(errs) != 1 {
			t.Errorf("%.60q: %v %v", tt.line, rules, errs)
			continue
		}
		var e *HBAError
		if !errors.As(errs[0], &e) || e.Text != tt.want {
			t.Errorf("%.60q:\n got %v\nwant %v", tt.line, errs[0], tt.want)
			continue
		}
		if e.File == "/etc/pool_hba.conf" && e.Context() != `line 2 of configuration file "/etc/pool_hba.conf"` {
			t.Errorf("%.60q: %s", tt.line, e.Context())
		}
	}
}

func TestHBAAllErrorsInOrder(t *testing.T) {
	text := "local all\n\nlocal all all md5\nhost all all @no trust\nx"
	_, errs := ParseHBA("/etc/h", []byte(text), files{}.open)
	var lines []int
	for _, err := range errs {
		var e *HBAError
		if errors.As(err, &e) {
			lines = append(lines, e.Line)
		}
	}
	if !slices.Equal(lines, []int{1, 4, 5}) {
		t.Errorf("lines %v: %v", lines, errs)
	}
	_, errs = ParseHBA("/etc/h", []byte("# nothing\n"), files{}.open)
	if len(errs) != 1 || errs[0].Error() != `configuration file "/etc/h" contains no entries` {
		t.Errorf("%v", errs)
	}
}

func TestHBANotices(t *testing.T) {
	rules := mustParse(t, "hostssl all all all trust\nlocal samerole +g md5 pamservice=x\n", nil)
	want := []string{
		`group tokens "samegroup" and "samerole" are not supported by Pgpool-II (line 2 of file "/etc/pool_hba.conf")`,
		`group token "+" is not supported by Pgpool-II (line 2 of file "/etc/pool_hba.conf")`,
		`authentication option "pamservice" is only valid for authentication methods pam (line 2 of file "/etc/pool_hba.conf")`,
		`hostssl record cannot match because SSL is disabled (line 1 of file "/etc/pool_hba.conf")`,
	}
	for _, ssl := range []bool{false, true} {
		var got []string
		for _, n := range rules.Notices(ssl) {
			got = append(got, n.String())
		}
		wanted := want
		if ssl {
			wanted = want[:3]
		}
		if !slices.Equal(got, wanted) {
			t.Errorf("ssl %t: %q", ssl, got)
		}
	}
}

func tcp(addr string) Client { return Client{Addr: netip.MustParseAddr(addr)} }

func TestHBAMatch(t *testing.T) {
	local, remote := Client{Local: true}, tcp("10.1.2.3")
	encrypted := remote
	encrypted.TLS = true
	named := remote
	named.Names = []string{"DB1.Example.com"}
	placed := remote
	placed.Interfaces = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fe80::1/64")}
	near := tcp("10.1.2.99")
	near.Interfaces = placed.Interfaces
	linkLocal := tcp("fe80::2%eth0")
	linkLocal.Interfaces = placed.Interfaces
	tests := []struct {
		record   string
		client   Client
		db, user string
		want     bool
	}{
		{"local all all trust", local, "d", "u", true},
		{"local all all trust", remote, "d", "u", false},
		{"host all all all trust", local, "d", "u", false},
		{"host all all all trust", remote, "d", "u", true},
		{"host all all all trust", encrypted, "d", "u", true},
		{"hostssl all all all trust", encrypted, "d", "u", true},
		{"hostssl all all all trust", remote, "d", "u", false},
		{"hostnossl all all all trust", encrypted, "d", "u", false},
		{"hostnossl all all all trust", remote, "d", "u", true},
		{"local d,e u,v trust", local, "e", "v", true},
		{"local d u trust", local, "D", "u", false},
		{"local d u trust", local, "d", "U", false},
		{"local sameuser all trust", local, "u", "u", true},
		{"local sameuser all trust", local, "sameuser", "u", false},
		{`local "sameuser" all trust`, local, "sameuser", "u", true},
		{`local "sameuser" all trust`, local, "u", "u", false},
		{`local "all" all trust`, local, "d", "u", false},
		{`local "all" all trust`, local, "all", "u", true},
		{`local all "all" trust`, local, "d", "u", false},
		{"local replication all trust", local, "replication", "u", true},
		{"local /d.* all trust", local, "db", "u", false},
		{"local /d.* all trust", local, "/d.*", "u", true},
		{"local samerole,d all trust", local, "d", "u", false},
		{"local d,samegroup all trust", local, "d", "u", true},
		{"local samegroup all trust", local, "samegroup", "u", false},
		{`local "samegroup" all trust`, local, "samegroup", "u", true},
		{"local all u,+g trust", local, "d", "u", true},
		{"local all +g,u trust", local, "d", "u", false},
		{`local all "+g" trust`, local, "d", "+g", true},
		{"local @dbs @users trust", local, "d3", "u 2", true},
		{"local @dbs all trust", local, "d4", "u", false},
		{"local @empty all trust", local, "", "u", false},
		{"host all all 10.1.0.0/16 trust", remote, "d", "u", true},
		{"host all all 10.2.0.0/16 trust", remote, "d", "u", false},
		{"host all all 10.1.255.255/16 trust", remote, "d", "u", true},
		{"host all all 0.0.0.0/0 trust", remote, "d", "u", true},
		{"host all all 0.0.0.0/0 trust", tcp("::1"), "d", "u", false},
		{"host all all 0.0.0.0/0 trust", tcp("::ffff:10.1.2.3"), "d", "u", false},
		{"host all all ::/0 trust", tcp("::ffff:10.1.2.3"), "d", "u", true},
		{"host all all ::/0 trust", remote, "d", "u", false},
		{"host all all 10.1.2.0 255.255.255.0 trust", remote, "d", "u", true},
		{"host all all 10.9.2.3 255.0.255.255 trust", remote, "d", "u", true},
		{"host all all 10.9.2.4 255.0.255.255 trust", remote, "d", "u", false},
		{"host all all fe80::1 ffff:: trust", linkLocal, "d", "u", true},
		{"host all all fe80::/10 trust", linkLocal, "d", "u", true},
		{"host all all fe80::2%lo/128 trust", linkLocal, "d", "u", true},
		{"host all all samehost trust", placed, "d", "u", true},
		{"host all all samehost trust", near, "d", "u", false},
		{"host all all samehost trust", remote, "d", "u", false},
		{"host all all samenet trust", near, "d", "u", true},
		{"host all all samenet trust", linkLocal, "d", "u", true},
		{"host all all samenet trust", tcp("10.1.2.3"), "d", "u", false},
		{`host all all "samehost" trust`, placed, "d", "u", false},
		{"host all all db1.example.COM trust", named, "d", "u", true},
		{"host all all .example.com trust", named, "d", "u", true},
		{"host all all example.com trust", named, "d", "u", false},
		{"host all all .xample.com trust", named, "d", "u", false},
		{"host all all db1.example.com trust", remote, "d", "u", false},
	}
	f := files{"/etc/dbs": "d1, d2\n# no\n@more\n", "/etc/more": "d3", "/etc/users": "u1 \"u 2\"", "/etc/empty": "#\n"}
	for _, tt := range tests {
		rule, reason := mustParse(t, tt.record, f).Match(tt.client, tt.db, tt.user)
		if (rule.Method == MethodTrust) != tt.want || (reason.Verdict == Matched) != tt.want {
			t.Errorf("%s: %+v %s %s: %v %v, want %t", tt.record, tt.client, tt.db, tt.user, rule.Method, reason, tt.want)
		}
	}
}

func TestHBAFirstRecordDecides(t *testing.T) {
	rules := mustParse(t, "\nlocal a u reject\nlocal all u scram-sha-256\nlocal all all md5\n", nil)
	for db, want := range map[string]string{"a": "reject 2", "b": "scram-sha-256 3"} {
		rule, reason := rules.Match(Client{Local: true}, db, "u")
		if got := fmt.Sprintf("%v %d", rule.Method, reason.Line); got != want {
			t.Errorf("%s: %s, want %s", db, got, want)
		}
	}
	rule, reason := rules.Match(tcp("::1"), "a", "u")
	if rule.Method != MethodReject || reason.Verdict != NoRecord {
		t.Errorf("%v %v", rule.Method, reason)
	}
	if rule, _ := (*Rules)(nil).Match(Client{Local: true}, "a", "u"); rule.Method != MethodReject {
		t.Error("no rules let somebody in")
	}
}

func TestHBANeeds(t *testing.T) {
	text := "host a all db.example trust\nhost b all 10.0.0.0/8 md5\nhost b all samenet md5\nhost all all .example md5\n"
	rules := mustParse(t, text, nil)
	tests := []struct {
		client Client
		db     string
		want   Needs
	}{
		{Client{Local: true}, "a", Needs{}},
		{tcp("10.0.0.1"), "a", Needs{Names: true}},
		{tcp("10.0.0.1"), "b", Needs{}},
		{tcp("11.0.0.1"), "b", Needs{Names: true, Interfaces: true}},
		{tcp("11.0.0.1"), "c", Needs{Names: true}},
	}
	for _, tt := range tests {
		if got := rules.Needs(tt.client, tt.db, "u"); got != tt.want {
			t.Errorf("%v %s: %+v, want %+v", tt.client.Addr, tt.db, got, tt.want)
		}
	}
}

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
