package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/auth"
)

func TestParseChallenge(t *testing.T) {
	tests := []struct {
		challenge   string
		nonce, salt string
		iterations  int
		wantErr     bool
	}{
		{"r=ab,s=c2FsdA==,i=4096", "ab", "salt", 4096, false},
		{"r=ab,s=c2FsdA==", "", "", 0, true},
		{"r=ab,s=c2FsdA==,i=0", "", "", 0, true},
		{"r=ab,s=c2FsdA==,i=x", "", "", 0, true},
		{"r=ab,s=*,i=1", "", "", 0, true},
		{"s=c2FsdA==,r=ab,i=1", "", "", 0, true},
		{"", "", "", 0, true},
	}
	for _, tt := range tests {
		nonce, salt, iterations, err := parseChallenge(tt.challenge)
		if (err != nil) != tt.wantErr || err == nil && (nonce != tt.nonce || salt != tt.salt || iterations != tt.iterations) {
			t.Errorf("%q: %q, %q, %d, %v", tt.challenge, nonce, salt, iterations, err)
		}
	}
}

// scramServer is a proxy of one port that knows a password, over TLS if config is not nil.
type scramServer struct {
	listener net.Listener
	config   *tls.Config
	entry    auth.Entry
	cache    *auth.Cache
	done     chan struct{}
}

func startScramServer(t *testing.T, password string, config *tls.Config) int {
	t.Helper()
	listener, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scramServer{
		listener: listener, config: config, entry: auth.ParseEntry("TEXT"+password, auth.Key{}),
		cache: auth.NewCache(auth.NewRandom(), 4), done: make(chan struct{}),
	}
	go s.accept()
	t.Cleanup(func() {
		_ = listener.Close()
		<-s.done
	})
	return listener.Addr().(*net.TCPAddr).Port
}

func (s *scramServer) accept() {
	defer close(s.done)
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		_ = s.serve(conn)
		_ = conn.Close()
	}
}

func (s *scramServer) serve(conn net.Conn) error {
	if s.config != nil {
		request := make([]byte, 8)
		if _, err := io.ReadFull(conn, request); err != nil {
			return err
		}
		if _, err := conn.Write([]byte{'S'}); err != nil {
			return err
		}
		conn = tls.Server(conn, s.config)
	}
	in := bufio.NewReader(conn)
	size := make([]byte, 4)
	if _, err := io.ReadFull(in, size); err != nil {
		return err
	}
	if _, err := in.Discard(int(binary.BigEndian.Uint32(size)) - 4); err != nil {
		return err
	}
	if err := s.challenge(conn, in); err != nil {
		_, err = conn.Write([]byte("E\x00\x00\x00\x09SNO\x00\x00"))
		return err
	}
	answerLogin(conn, in, false)
	return nil
}

func (s *scramServer) challenge(conn io.Writer, in *bufio.Reader) error {
	a := auth.NewAcceptor(auth.Plan{Ask: auth.AskSCRAM}, auth.Party{User: userName, Entry: s.entry, Cache: s.cache, Random: auth.NewRandom()})
	step, err := a.Start()
	for err == nil {
		if step.Work != nil {
			step.Work()
			step, err = a.Resume()
			continue
		}
		message := binary.BigEndian.AppendUint32([]byte{'R'}, uint32(len(step.Body)+8))
		message = append(binary.BigEndian.AppendUint32(message, uint32(step.Code)), step.Body...)
		if _, err := conn.Write(message); err != nil || step.Done {
			return err
		}
		header := make([]byte, 5)
		if _, err := io.ReadFull(in, header); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		step, err = a.Next(body)
	}
	return err
}

func TestLoginClient(t *testing.T) {
	kit, err := newLoginKit(places{dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(kit.cert, kit.certKey)
	if err != nil {
		t.Fatal(err)
	}
	over := &tls.Config{Certificates: []tls.Certificate{pair}}
	plainPort, tlsPort := startScramServer(t, loginPassword, nil), startScramServer(t, loginPassword, over)
	tests := []struct {
		name    string
		client  *loginClient
		derived int64 // of two logins
	}{
		{"keeps its keys", kit.client(&contender{port: plainPort}, loginRow{}), 1},
		{"derives as libpq", kit.client(&contender{port: plainPort}, loginRow{Derive: true}), 2},
		{"over TLS", kit.client(&contender{port: tlsPort}, loginRow{TLS: true}), 1},
	}
	for _, tt := range tests {
		for range 2 {
			if err := tt.client.once(); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if got := tt.client.derived.Load(); got != tt.derived {
			t.Errorf("%s: %d derivations, want %d", tt.name, got, tt.derived)
		}
	}
	other := startScramServer(t, "another password", nil)
	if err := kit.client(&contender{port: other}, loginRow{}).once(); err == nil {
		t.Error("the wrong password was let in")
	}
}

func TestLoginRows(t *testing.T) {
	names := func(rows string) (all []string) {
		for _, row := range (options{rows: regexp.MustCompile(rows)}).loginRows() {
			all = append(all, row.Name)
		}
		return all
	}
	if got := names("logins/tls"); !slices.Equal(got, []string{"tls"}) {
		t.Errorf("chosen: %v", got)
	}
	if got := names("three/"); len(got) != len(loginRows()) {
		t.Errorf("nothing matches: %v", got)
	}
	if (loginRow{TLS: true}).takes(direct) || !(loginRow{}).takes(direct) {
		t.Error("direct takes part over TLS, or not without")
	}
}

func TestCountCosts(t *testing.T) {
	const stacks = `
	ffffffff81 tcp_sendmsg ([kernel.kallsyms])
	ffffffff82 __x64_sys_write ([kernel.kallsyms])
	    4010 syscall.write (/bin/pgpool)

	ffffffff83 do_exit ([kernel.kallsyms])

	    4020 crypto/internal/fips140/sha256.block (/bin/pgpool)
	    4021 crypto/internal/fips140/hmac.(*HMAC).Write (/bin/pgpool)
	    4022 github.com/xdg-go/pbkdf2.Key (/bin/pgpool)
	    4023 github.com/xdg-go/scram.(*Client).GetStoredCredentials (/bin/pgpool)

	    4024 crypto/internal/fips140/sha256.block (/bin/pgpool)
	    4025 gopgpool/auth.(*scramAcceptor).Next (/bin/pgpool)
	    4026 gopgpool/proxy.(*session).challenge (/bin/pgpool)

	    4030 crypto/internal/fips140/nistec.p256Mul (/bin/pgpool)
	    4031 crypto/tls.(*Conn).Handshake (/bin/pgpool)

	    4040 runtime.memclr (/bin/pgpool)
	    4041 runtime.mallocgc (/bin/pgpool)
	    4042 crypto/tls.(*Conn).Handshake (/bin/pgpool)

	    5000 [unknown] ([vdso])

`
	want := loginCost{Samples: 7, Parts: []costPart{
		{costKernel, 1}, {costTransfer, 1}, {costMemory, 1}, {costDerivation, 1}, {costSCRAM, 1}, {costTLS, 1}, {costRest, 1},
	}}
	got, err := countCosts(strings.NewReader(stacks))
	byName := func(a, b costPart) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(got.Parts, byName)
	slices.SortFunc(want.Parts, byName)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := countCosts(strings.NewReader("  4010 nothing\n")); err == nil {
		t.Error("a line without a file was taken")
	}
	for _, rule := range append(userRules(), costRule{"", costKernel}) {
		if !slices.Contains(costParts(), rule.part) {
			t.Errorf("%q is not written", rule.part)
		}
	}
	for _, part := range callRules() {
		if !slices.Contains(costParts(), part) {
			t.Errorf("%q is not written", part)
		}
	}
}

func TestEntering(t *testing.T) {
	m := entering{
		connecting: connecting{seconds: []int64{4}, latencies: []int64{1, 2, 3, 4}, cpu: 40 * time.Microsecond},
		runs:       []float64{4}, clientCPU: 8 * time.Microsecond, derived: 2,
	}
	got := m.result(loginRow{Name: "x"}, "y")
	if got.Row != "logins/x" || got.Contender != "y" || got.CPU != 10 || got.ClientCPU != 2 || got.Derived != 0.5 || got.Rate != 4 {
		t.Errorf("got %+v", got)
	}
	m = entering{}
	m.add(context.Background(), &contender{broken: os.ErrNotExist}, &loginClient{}, 1)
	if got := m.result(loginRow{}, "z"); got.Error == "" {
		t.Error("a contender that did not start is no failure")
	}
}

func TestLoginReport(t *testing.T) {
	result := func(row, name string, problem string, runs ...float64) loginResult {
		return loginResult{Row: row, connectResult: connectResult{Contender: name, Rate: runs[0], CPU: 200, Error: problem}, Runs: runs}
	}
	r := report{Rounds: 3, Seconds: 1, Versions: map[string]string{}, Logins: &loginsReport{
		Results: []loginResult{
			result("logins/scram", pgpool2, "", 100, 200, 100), result("logins/scram", gopgpool, "", 300, 300, 150),
			result("logins/tls", pgpool2, "no", 1), result("logins/tls", gopgpool, "", 300),
			result("logins/derived", pgpool2, "", 100), result("logins/derived", gopgpool, "", 300),
		},
		Costs: []loginCost{{Row: "logins/scram", Contender: gopgpool, Samples: 4, Parts: []costPart{{costTransfer, 3}, {costSCRAM, 1}}}},
	}}
	var verdicts []string
	for _, one := range loginTargets(r.Logins) {
		verdicts = append(verdicts, one.Reached+" "+one.verdict())
	}
	if want := []string{"1.50 NOT met", "3.00 met", " not measured"}; !slices.Equal(verdicts, want) {
		t.Errorf("verdicts %q", verdicts)
	}
	dir := t.TempDir()
	names, err := r.write(dir)
	if err != nil || !slices.Equal(names, []string{"logins.md"}) {
		t.Fatalf("written: %v, %v", names, err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "logins.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| gopgpool | 300 | 1.50 | 0 | 200 | 0 |", "| pgpool2 | failed |", "| kernel: reading and writing | 75.0 %, 150.0 |",
		"| SCRAM: messages, proofs | 25.0 %, 50.0 |", "| TLS |  |",
	} {
		if !strings.Contains(string(md), want) {
			t.Errorf("logins.md lacks %q", want)
		}
	}
	if p := r.problems(); len(p) != 1 || p[0] != "logins/tls pgpool2: no" {
		t.Errorf("problems: %v", p)
	}
}
