package authtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// end is what a process prints after its answer to an attempt.
const end = "--end--"

// process is a client program that makes one attempt after the other: a line in, lines until end out.
type process struct {
	mu  sync.Mutex // guards what follows
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// startProcess starts a client that ends with the test.
func startProcess(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	t.Cleanup(func() {
		in.Close()
		err := cmd.Wait()
		reader.Close()
		if err != nil {
			t.Errorf("%s: %v", cmd.Path, err)
		}
	})
	return &process{cmd: cmd, in: in, out: bufio.NewScanner(reader)}
}

// ask sends a text and returns the lines of the answer.
func (p *process) ask(t *testing.T, text string) (lines []string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.in, text); err != nil {
		t.Fatalf("%s: %v", p.cmd.Path, err)
	}
	for p.out.Scan() {
		if p.out.Text() == end {
			return lines
		}
		lines = append(lines, p.out.Text())
	}
	t.Fatalf("%s ended: %v", p.cmd.Path, lines)
	return nil
}

// jdbc is Java's driver in one process, clients/Logins.java.
type jdbc struct{ *process }

const jdbcJar = "/usr/share/java/postgresql.jar"

func startJDBC(t *testing.T) jdbc {
	t.Helper()
	return jdbc{startProcess(t, exec.Command("java", "-XX:+UseSerialGC", "-cp", jdbcJar, "clients/Logins.java"))}
}

func (jdbc) name() string { return "jdbc" }

// can: neither direct TLS nor channel binding nor sockets; an empty password it does not send, nor a certificate nobody asked for.
func (jdbc) can(a attempt) bool {
	return a.secret != "" && a.client != "unix" && !a.foreign && !strings.Contains(a.client, "direct") && !strings.Contains(a.client, "bind")
}

func (j jdbc) login(_ context.Context, t *testing.T, a attempt) outcome {
	t.Helper()
	options := url.Values{"user": {a.user}, "password": {a.secret}, "sslmode": {"disable"}, "gssEncMode": {"disable"}, "loginTimeout": {"60"}}
	if a.tls() {
		options.Set("sslmode", "verify-full")
		options.Set("sslrootcert", a.root)
	}
	if strings.Contains(a.client, "cert") && a.leaf.cert != "" {
		options.Set("sslcert", a.leaf.cert)
		options.Set("sslkey", a.leaf.der(t))
	}
	lines := j.ask(t, fmt.Sprintf("jdbc:postgresql://%s:%d/%s?%s\n", a.host, a.port, a.database, options.Encode()))
	kind, rest, _ := strings.Cut(strings.Join(lines, " "), "\t")
	switch kind {
	case "in":
		return outcome{user: rest}
	case "refused":
		state, text, _ := strings.Cut(rest, "\t")
		return outcome{state: state, text: text}
	}
	t.Fatalf("jdbc: %q", lines)
	return outcome{}
}
