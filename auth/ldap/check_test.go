package ldap

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/auth/outside"
	"gopgpool/internal/authparts"
	"gopgpool/internal/pgcluster"
)

const password = "right & secret"

// directory is a slapd with users whose password is password.
func directory(t *testing.T, users ...string) *authparts.Slapd {
	t.Helper()
	s := authparts.StartSlapd(t, authparts.SlapdOptions{})
	for _, user := range users {
		s.AddUser(t, user, password)
	}
	return s
}

func simple(s *authparts.Slapd) auth.LDAPOptions {
	return auth.LDAPOptions{Servers: []string{s.Host}, Port: s.Port, Prefix: "uid=", Suffix: "," + s.PeopleDN}
}

func searching(s *authparts.Slapd) auth.LDAPOptions {
	return auth.LDAPOptions{
		Servers: []string{s.Host}, Port: s.Port, Search: true, BaseDN: s.BaseDN, SearchAttribute: "uid",
	}
}

// ask is [Client.Check] with an environment and a DNS of the test's own.
func ask(ctx context.Context, o auth.LDAPOptions, user, given string, env map[string]string, records ...*net.SRV) error {
	l := login{
		options: o, user: user, password: given, authorities: &authorities{}, getenv: func(name string) string { return env[name] },
		lookupSRV: func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
			if len(records) == 0 || service+proto+name != "ldaptcpexample.org" {
				return "", nil, errors.New("no such host")
			}
			return name, records, nil
		},
	}
	return l.run(ctx)
}

// outcome is the failure with what the log has to say about it; "" if the user is in.
type outcome struct {
	failure outside.Failure
	text    string
}

func judge(t *testing.T, name string, err error, want outcome) {
	t.Helper()
	failure, e := outside.Failure(0), (*outside.Error)(nil)
	if errors.As(err, &e) {
		failure = e.Failure
	}
	switch {
	case want.failure == 0 && err != nil, failure != want.failure:
		t.Errorf("%s: %s %v, want %s", name, failure, err, want.failure)
	case want.failure != 0 && !strings.Contains(err.Error(), want.text):
		t.Errorf("%s: %v, want %q in it", name, err, want.text)
	case err != nil && (strings.Contains(err.Error(), password) || strings.ContainsAny(err.Error(), "\n\r")):
		t.Errorf("%s: %q", name, err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	s := directory(t, "alice", "bob, the builder", "Ümit")
	elsewhere := s.AddUnit(t, "elsewhere")
	s.AddUserIn(t, s.PeopleDN, "twin", password)
	s.AddUserIn(t, elsewhere, "twin", password)
	s.AddUserIn(t, elsewhere, "carol", "carol's")
	with := func(o auth.LDAPOptions, change func(o *auth.LDAPOptions)) auth.LDAPOptions {
		change(&o)
		return o
	}
	byMail := with(searching(s), func(o *auth.LDAPOptions) {
		o.SearchAttribute, o.SearchFilter = "", "(|(mail=$username)(uid=$username))"
	})
	asAdmin := with(searching(s), func(o *auth.LDAPOptions) { o.BindDN, o.BindPassword = s.AdminDN, s.AdminPassword })
	for _, tc := range []struct {
		name           string
		options        auth.LDAPOptions
		user, password string
		want           outcome
	}{
		{"simple", simple(s), "alice", password, outcome{}},
		{"simple, name with a comma", simple(s), "bob, the builder", password, outcome{}},
		{"simple, not ASCII", simple(s), "Ümit", password, outcome{}},
		{"simple, wrong password", simple(s), "alice", "wrong", outcome{outside.Refused, `LDAP login failed for user "uid=alice,ou=people,dc=example,dc=org" on server "127.0.0.1": `}},
		{"simple, no such user", simple(s), "mallory", password, outcome{outside.Refused, "LDAP login failed for user"}},
		{"simple, empty password", simple(s), "alice", "", outcome{outside.Refused, "empty password"}},
		{"simple, injected name", simple(s), "carol,ou=elsewhere", "carol's", outcome{outside.Refused, `uid=carol\,ou=elsewhere,ou=people`}},
		{"simple, injected to the end", simple(s), "carol,ou=elsewhere,dc=example,dc=org+uid=", "carol's", outcome{outside.Refused, "LDAP login failed"}},
		{"simple, line break", simple(s), "alice\nx", password, outcome{outside.Refused, "invalid character"}},
		{"simple, blank", simple(s), "  ", password, outcome{outside.Refused, "invalid character"}},
		{"search", searching(s), "alice", password, outcome{}},
		{"search, bound", asAdmin, "alice", password, outcome{}},
		{"search, filter", byMail, "alice@example.org", password, outcome{}},
		{"search, not ASCII", searching(s), "Ümit", password, outcome{}},
		{"search, wrong password", searching(s), "alice", "wrong", outcome{outside.Refused, "LDAP login failed for user"}},
		{"search, no such user", searching(s), "mallory", password, outcome{outside.Refused, `LDAP user "mallory" does not exist`}},
		{"search, empty password", searching(s), "alice", "", outcome{outside.Refused, "empty password"}},
		{"search, two entries", searching(s), "twin", password, outcome{outside.Refused, `LDAP user "twin" is not unique`}},
		{"search, two below, one at the level", with(searching(s), func(o *auth.LDAPOptions) { o.BaseDN, o.Scope = s.PeopleDN, auth.LDAPScopeOne }), "twin", password, outcome{}},
		{"search, base only", with(searching(s), func(o *auth.LDAPOptions) { o.Scope = auth.LDAPScopeBase }), "alice", password, outcome{outside.Refused, "does not exist"}},
		{"search, star", searching(s), "ali*", password, outcome{outside.Refused, "invalid character"}},
		{"search, injected filter", byMail, "x)(uid=alice", password, outcome{outside.Refused, "invalid character"}},
		{"search, backslash", searching(s), `alic\65`, password, outcome{outside.Refused, "invalid character"}},
		{"search, slash", searching(s), "ali/ce", password, outcome{outside.Refused, "invalid character"}},
		{"search, wrong base", with(searching(s), func(o *auth.LDAPOptions) { o.BaseDN = "dc=nowhere" }), "alice", password, outcome{outside.Unusable, "could not search LDAP"}},
		{"search, bad filter", with(byMail, func(o *auth.LDAPOptions) { o.SearchFilter = "(uid=$username" }), "alice", password, outcome{outside.Unusable, "could not search LDAP"}},
		{"search, own password wrong", with(asAdmin, func(o *auth.LDAPOptions) { o.BindPassword = "old" }), "alice", password, outcome{outside.Unusable, "could not perform initial LDAP bind"}},
		{"first server dead", with(simple(s), func(o *auth.LDAPOptions) { o.Servers = []string{"127.0.0.3", s.Host} }), "alice", password, outcome{}},
		{"first server dead, wrong password", with(searching(s), func(o *auth.LDAPOptions) { o.Servers = []string{"127.0.0.3", s.Host} }), "alice", "wrong", outcome{outside.Refused, "LDAP login failed"}},
		{"all servers dead", with(simple(s), func(o *auth.LDAPOptions) { o.Servers = []string{"127.0.0.3", "[::1]"} }), "alice", password, outcome{outside.Unavailable, `"[::1]:`}},
		{"no server, no domain", with(searching(s), func(o *auth.LDAPOptions) { o.Servers, o.BaseDN = nil, "o=x" }), "alice", password, outcome{outside.Unusable, "names no domain"}},
		{"no server, no record", with(searching(s), func(o *auth.LDAPOptions) { o.Servers = nil }), "alice", password, outcome{outside.Unavailable, `could not find DNS SRV records for "example.org"`}},
	} {
		judge(t, tc.name, ask(t.Context(), tc.options, tc.user, tc.password, nil), tc.want)
	}
	records := []*net.SRV{{Target: ".", Port: 1}, {Target: "127.0.0.3.", Port: uint16(s.Port)}, {Target: "127.0.0.1.", Port: uint16(s.Port)}}
	o := searching(s)
	o.Servers, o.Port = nil, 0
	judge(t, "DNS", ask(t.Context(), o, "alice", password, nil, records...), outcome{})
	judge(t, "DNS, wrong password", ask(t.Context(), o, "alice", "wrong", nil, records...), outcome{outside.Refused, "LDAP login failed"})
}

func TestServerAcceptsEmptyPasswords(t *testing.T) {
	t.Parallel()
	s := directory(t, "alice")
	l := login{options: simple(s), user: "alice"}
	c, err := l.dial(t.Context(), server{host: s.Host, port: s.Port})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.UnauthenticatedBind("uid=alice," + s.PeopleDN); err != nil {
		t.Errorf("the server would refuse them by itself, so the tests prove nothing: %v", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s, other := directory(t, "alice"), authparts.StartSlapd(t, authparts.SlapdOptions{})
	own, foreign := map[string]string{"LDAPTLS_CACERT": s.CAFile}, map[string]string{"LDAPTLS_CACERT": other.CAFile}
	file := filepath.Join(t.TempDir(), "ldap.conf")
	if err := os.WriteFile(file, []byte("# ours\nTLS_CACERT\t"+s.CAFile+"\nURI ldap://x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(s.CAFile, filepath.Join(dir, "12345678.0")); err != nil {
		t.Fatal(err)
	}
	ldaps, starttls := simple(s), searching(s)
	ldaps.LDAPS, ldaps.Port, starttls.StartTLS = true, s.TLSPort, true
	for _, tc := range []struct {
		name string
		env  map[string]string
		want outcome
	}{
		{"trusted", own, outcome{}},
		{"trusted by a file", map[string]string{"LDAPCONF": file}, outcome{}},
		{"trusted by a directory", map[string]string{"LDAPTLS_CACERTDIR": dir}, outcome{}},
		{"untrusted", foreign, outcome{outside.Unavailable, "certificate signed by unknown authority"}},
		{"untrusted by default", nil, outcome{outside.Unavailable, "certificate signed by unknown authority"}},
		{"variable before file", map[string]string{"LDAPCONF": file, "LDAPTLS_CACERT": other.CAFile}, outcome{outside.Unavailable, "unknown authority"}},
		{"nothing is read", map[string]string{"LDAPNOINIT": "1", "LDAPTLS_CACERT": s.CAFile}, outcome{outside.Unavailable, "unknown authority"}},
		{"not required", map[string]string{"LDAPTLS_REQCERT": "never"}, outcome{}},
		{"required in words unknown", map[string]string{"LDAPTLS_REQCERT": "perhaps"}, outcome{outside.Unusable, "TLS_REQCERT"}},
		{"no such authority", map[string]string{"LDAPTLS_CACERT": dir + "/none"}, outcome{outside.Unusable, "no such file"}},
		{"no such file", map[string]string{"LDAPCONF": dir + "/none"}, outcome{outside.Unusable, "no such file"}},
		{"an authority that is none", map[string]string{"LDAPTLS_CACERT": file}, outcome{outside.Unusable, "no certificate"}},
		{"CRL", map[string]string{"LDAPTLS_CACERT": s.CAFile, "LDAPTLS_CRLCHECK": "peer"}, outcome{outside.Unusable, "revocation"}},
		{"TLS 1.3", map[string]string{"LDAPTLS_CACERT": s.CAFile, "LDAPTLS_PROTOCOL_MIN": "3.4"}, outcome{}},
		{"TLS of the future", map[string]string{"LDAPTLS_CACERT": s.CAFile, "LDAPTLS_PROTOCOL_MIN": "3.5"}, outcome{outside.Unusable, "3.5"}},
	} {
		judge(t, "ldaps, "+tc.name, ask(t.Context(), ldaps, "alice", password, tc.env), tc.want)
		judge(t, "StartTLS, "+tc.name, ask(t.Context(), starttls, "alice", password, tc.env), tc.want)
	}
	judge(t, "wrong password", ask(t.Context(), ldaps, "alice", "wrong", own), outcome{outside.Refused, "LDAP login failed"})
	judge(t, "wrong password", ask(t.Context(), starttls, "alice", "wrong", own), outcome{outside.Refused, "LDAP login failed"})
	plain := ldaps
	plain.Port = s.Port
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	judge(t, "ldaps to the other port", ask(ctx, plain, "alice", password, own), outcome{outside.Unavailable, "no TLS"})
	starttls.Servers = []string{"127.0.0.1.nip.invalid"}
	judge(t, "no such host", ask(ctx, starttls, "alice", password, own), outcome{outside.Unavailable, "could not connect"})
}

func TestCertificateIsForTheHost(t *testing.T) {
	t.Parallel()
	port := pgcluster.FreePort(t)
	s := authparts.StartSlapd(t, authparts.SlapdOptions{Host: "127.0.0.4", Port: port})
	s.AddUser(t, "alice", password)
	o := searching(s)
	o.StartTLS = true
	err := ask(t.Context(), o, "alice", password, map[string]string{"LDAPTLS_CACERT": s.CAFile})
	judge(t, "127.0.0.4", err, outcome{outside.Unavailable, "127.0.0.4"})
}

// A frozen server costs its share of the time, and what comes after it still gets asked.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	s := directory(t, "alice")
	frozen := authparts.StartSlapd(t, authparts.SlapdOptions{Host: "127.0.0.2", Port: s.Port})
	frozen.Pause(t)
	env := map[string]string{"LDAPTLS_CACERT": frozen.CAFile}
	for _, change := range []func(o *auth.LDAPOptions){
		func(*auth.LDAPOptions) {},
		func(o *auth.LDAPOptions) { o.StartTLS = true },
		func(o *auth.LDAPOptions) { o.LDAPS, o.Port = true, frozen.TLSPort },
	} {
		o := searching(s)
		o.Servers = []string{frozen.Host}
		change(&o)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		judge(t, "frozen", ask(ctx, o, "alice", password, env), outcome{outside.Unavailable, "deadline exceeded"})
		cancel()
	}
	o := searching(s)
	o.Servers = []string{frozen.Host, s.Host}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the frozen one takes half of it
	defer cancel()
	judge(t, "one frozen", ask(ctx, o, "alice", password, nil), outcome{})
	gone, leave := context.WithCancelCause(t.Context())
	leave(errors.New("the client has left"))
	judge(t, "cancelled", ask(gone, o, "alice", password, nil), outcome{outside.Unavailable, "the client has left"})
}

// overdue is a context whose deadline is over, which it does not know yet.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Unix(1, 0), true }

func TestDeadlineIsToldHoweverItIsSeen(t *testing.T) {
	t.Parallel()
	judge(t, "overdue", lost(overdue{t.Context()}, "no answer", os.ErrDeadlineExceeded), outcome{outside.Unavailable, "context deadline exceeded"})
	judge(t, "in time", lost(t.Context(), "no answer", io.ErrUnexpectedEOF), outcome{outside.Unavailable, "unexpected EOF"})
}

// Whether a user exists does not show in how often the server is asked.
func TestUnknownUserTakesAsLong(t *testing.T) {
	t.Parallel()
	s := directory(t, "alice")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections <- struct{}{}
			relay(c, s.URL[len("ldap://"):])
		}
	}()
	o := searching(s)
	o.Port = listener.Addr().(*net.TCPAddr).Port
	judge(t, "wrong password", ask(t.Context(), o, "alice", "wrong", nil), outcome{outside.Refused, "LDAP login failed"})
	known := len(connections)
	judge(t, "no such user", ask(t.Context(), o, "mallory", "wrong", nil), outcome{outside.Refused, "does not exist"})
	if unknown := len(connections) - known; unknown != known || known == 0 {
		t.Errorf("%d connections for a user, %d for none", known, unknown)
	}
	_ = listener.Close() // ends the loop
	<-done
}

// relay passes a connection on until the client closes it.
func relay(c net.Conn, address string) {
	server, err := net.Dial("tcp", address)
	if err != nil {
		_ = c.Close() // the client sees it
		return
	}
	back := make(chan struct{})
	go func() {
		_, _ = io.Copy(c, server) // ends when server is closed
		close(back)
	}()
	_, _ = io.Copy(server, c) // ends when the client leaves
	_ = server.Close()        // all was said
	<-back
	_ = c.Close() // all was said
}

// Check uses the environment and the files of the machine, and sees when they change.
func TestCheckOfTheMachine(t *testing.T) {
	s := directory(t, "alice")
	t.Setenv("LDAPTLS_CACERT", s.CAFile)
	o := simple(s)
	o.Servers, o.StartTLS = []string{"localhost"}, true
	c := New()
	judge(t, "right", c.Check(t.Context(), o, "alice", password), outcome{})
	judge(t, "wrong", c.Check(t.Context(), o, "alice", "wrong"), outcome{outside.Refused, "LDAP login failed"})

	other := authparts.StartSlapd(t, authparts.SlapdOptions{})
	ca, err := os.ReadFile(other.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.CAFile, append(ca, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	judge(t, "another authority", c.Check(t.Context(), o, "alice", password), outcome{outside.Unavailable, "unknown authority"})
}

func TestRefusalTellsClientsNothing(t *testing.T) {
	t.Parallel()
	var texts []string
	for _, err := range []error{
		outside.New(outside.Refused, "no such user", nil), outside.New(outside.Unavailable, "no server", errors.New("refused")), outside.New(outside.Unusable, "ldap.conf", nil), errors.New("other"),
	} {
		e := Refusal("u", err)
		if e.SQLSTATE != "28P01" || e.ClientMessage != `LDAP authentication failed for user "u"` || e.Detail != "" || e.Hint != "" {
			t.Errorf("%v: %+v", err, *e)
		}
		if !strings.Contains(e.Error(), `LDAP authentication with pgpool failed for user "u": `+err.Error()) {
			t.Errorf("%v: the log is told %q", err, e.Error())
		}
		texts = append(texts, e.LogHint)
	}
	if texts[0] != "" || texts[1] == "" || texts[2] == "" || texts[1] == texts[2] {
		t.Errorf("%q", texts)
	}
}
