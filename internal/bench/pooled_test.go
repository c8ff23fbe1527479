package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPreparesPooled(t *testing.T) {
	tests := []struct {
		version string
		want    bool
	}{
		{"PgBouncer 1.18.0", false},
		{"PgBouncer 1.20.1", false},
		{"PgBouncer 1.21.0", true},
		{"PgBouncer 1.24.1", true},
		{"PgBouncer 2.0", true},
		{"none: exit status 127", false},
		{"", false},
	}
	for _, tt := range tests {
		if got := (bouncer{version: tt.version}).preparesPooled(); got != tt.want {
			t.Errorf("%q: %t", tt.version, got)
		}
	}
}

func TestPgBouncerINI(t *testing.T) {
	session := pgbouncerINI("/d", 1, 2, capacity{mode: sessionMode, clients: 3, servers: 4})
	byTransaction := pgbouncerINI("/d", 1, 2, capacity{mode: transactionMode, clients: 3, servers: 4})
	for _, want := range []string{"pool_mode = session\n", "max_client_conn = 3\n", "default_pool_size = 4\n"} {
		if !strings.Contains(session, want) {
			t.Errorf("session mode lacks %q", want)
		}
	}
	if strings.Contains(session, "max_prepared_statements") { // 1.18 warns of it
		t.Error("session mode asks for prepared statements")
	}
	for _, want := range []string{"pool_mode = transaction\n", "max_prepared_statements = 200\n"} {
		if !strings.Contains(byTransaction, want) {
			t.Errorf("transaction mode lacks %q", want)
		}
	}
}

func TestPgpoolPoolMode(t *testing.T) {
	servers := []int{5432}
	if text := pgpoolConf("/d", 1, 2, servers, capacity{mode: sessionMode, clients: 3, servers: 4}); strings.Contains(text, "pool_mode") {
		t.Error("session mode, which Pgpool-II reads too, names a parameter of ours")
	}
	text := pgpoolConf("/d", 1, 2, servers, capacity{mode: transactionMode, clients: 30, servers: 4})
	for _, want := range []string{"pool_mode = 'transaction'\n", "default_pool_size = 4\n", "num_init_children = 30\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("transaction mode lacks %q", want)
		}
	}
}

// A PgBouncer without prepared statements in transaction mode takes part in the simple rows only.
func TestTaking(t *testing.T) {
	s := &stage{contenders: []*contender{{name: pgbouncer}, {name: gopgpool}}}
	tests := []struct {
		version string
		row     row
		want    []int
	}{
		{"PgBouncer 1.18.0", row{Topology: pooled, Mode: simple}, []int{0, 1}},
		{"PgBouncer 1.18.0", row{Topology: pooled, Mode: prepared}, []int{1}},
		{"PgBouncer 1.18.0", row{Topology: oneBackend, Mode: prepared}, []int{0, 1}},
		{"PgBouncer 1.24.1", row{Topology: pooled, Mode: prepared}, []int{0, 1}},
	}
	for _, tt := range tests {
		r := &runner{pooling: bouncer{version: tt.version}}
		if got := r.taking(s, tt.row); !slices.Equal(got, tt.want) {
			t.Errorf("%s, %s: %v", tt.version, tt.row.id(), got)
		}
	}
}

func TestPairedRatio(t *testing.T) {
	ours, theirs := cell{TPS: 30, Runs: []float64{30, 60, 9}}, cell{TPS: 40, Runs: []float64{30, 80, 10}}
	if got := (ratioTarget{of: tpsOf, paired: true}).ratio(ours, theirs); got != 0.9 {
		t.Errorf("pairs: %g", got)
	}
	if got := (ratioTarget{of: tpsOf}).ratio(ours, theirs); got != 0.75 {
		t.Errorf("medians: %g", got)
	}
}

func TestCountSamples(t *testing.T) {
	code := joined([]span{{0x30, 0x40}, {0x10, 0x20}, {0x18, 0x28}, {0x34, 0x36}})
	if want := []span{{0x10, 0x28}, {0x30, 0x40}}; !slices.Equal(code, want) {
		t.Fatalf("joined: %x", code)
	}
	const stacks = `
	      ffffffff81000000 ([kernel.kallsyms])
	      10 (/bin/pgpool)


	      28 (/bin/pgpool)
	      2f (/bin/pgpool)
	      40 (/bin/pgpool)

	      3f (/bin/pgpool)
	      8 ([unknown])

	      11 (/lib/libc.so.6)
`
	got, err := countSamples(strings.NewReader(stacks), "/bin/pgpool", code)
	if want := (virtualShare{Samples: 4, Inside: 2}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := countSamples(strings.NewReader("pgpool 12\n"), "pgpool", code); err == nil {
		t.Error("a line that is no address was read")
	}
}

// A function that is inlined is found inside the one that calls it.
func TestCodeOf(t *testing.T) {
	dir := t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	const text = `package main

import "os"

func small(n int) int { return n*n + len(os.Args) }

func main() { os.Exit(small(len(os.Args))) }
`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	find := func(name string) []span {
		code, err := codeOf(program, func(n string) bool { return n == name })
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	inner, outer := find("main.small"), find("main.main")
	if !contains(outer, inner[0].from) || contains(inner, outer[0].from) {
		t.Errorf("main.small at %x, main.main at %x", inner, outer)
	}
	if _, err := codeOf(program, func(string) bool { return false }); err == nil {
		t.Error("nothing was found")
	}
	if _, err := codeOf(source, virtualCode); err == nil {
		t.Error("a text has code")
	}
}

// What the profile counts is there under these names.
func TestVirtualMethods(t *testing.T) {
	sources, err := filepath.Glob(filepath.Join("..", "..", "proxy", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, file := range sources {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(source)
	}
	for _, name := range virtualMethods() {
		if !strings.Contains(text.String(), "func (s *session) "+name+"(") {
			t.Errorf("the proxy's session has no method %s", name)
		}
	}
}

// fakeServer answers every login and query until the test ends; refuse answers a login with an error.
func fakeServer(t *testing.T, refuse bool) int {
	listener, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go acceptAll(listener, refuse, done)
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().(*net.TCPAddr).Port
}

func acceptAll(listener net.Listener, refuse bool, done chan<- struct{}) {
	defer close(done)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		in := bufio.NewReader(conn)
		size := make([]byte, 4)
		if _, err := in.Read(size); err == nil {
			_, _ = in.Discard(int(binary.BigEndian.Uint32(size)) - 4)
			answerLogin(conn, in, refuse)
		}
		_ = conn.Close()
	}
}

func answerLogin(conn net.Conn, in *bufio.Reader, refuse bool) {
	const ready = "Z\x00\x00\x00\x05I"
	if refuse {
		_, _ = conn.Write([]byte("E\x00\x00\x00\x09SNO\x00\x00"))
		return
	}
	_, _ = conn.Write([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00" + ready))
	if _, err := in.ReadString(0); err != nil { // the length begins with zeros
		return
	}
	_, _ = conn.Write([]byte("C\x00\x00\x00\x0dSELECT 1\x00" + ready))
	_, _ = in.ReadString('X')
}

func plain(port int) func() error { return func() error { return connectOnce(port) } }

func TestConnectFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	port := fakeServer(t, false)
	done, latencies, err := connectFor(ctx, 1, plain(port))
	for err == nil && done[0] == 0 && ctx.Err() == nil { // the machine had other work for a second
		done, latencies, err = connectFor(ctx, 1, plain(port))
	}
	if err != nil || len(done) != 1 || done[0] == 0 || int64(len(latencies)) < done[0] {
		t.Errorf("seconds %v, %d latencies, %v", done, len(latencies), err)
	}
	if _, _, err := connectFor(ctx, 1, plain(fakeServer(t, true))); err == nil || !strings.Contains(err.Error(), "NO") {
		t.Errorf("a refusal gave %v", err)
	}
}

func TestConnecting(t *testing.T) {
	m := connecting{seconds: []int64{30, 10, 20}, latencies: []int64{5, 1, 3, 2}, cpu: 40 * time.Microsecond}
	want := connectResult{Contender: "x", Rate: 20, Slowest: 10, P50: 2, P99: 5, CPU: 10, Connects: 4}
	if got := m.result("x"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (&connecting{err: errors.New("no")}).result("x"); got.Error != "no" {
		t.Errorf("got %+v", got)
	}
}

func TestCrowds(t *testing.T) {
	count := func(rows string) int { return len(options{rows: regexp.MustCompile(rows)}.crowds()) }
	if all, one, none := count(""), count("idle/transaction/.*/login"), count("three/"); all != 3 || one != 1 || none != 3 {
		t.Errorf("chosen: %d of all, %d of one, %d where none matches", all, one, none)
	}
}
