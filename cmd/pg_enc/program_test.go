package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/terminal/pty"
)

var update = flag.Bool("update", false, "write the golden files")

// The test binary is the program when this variable is set.
const testProgram = "PG_ENC_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(testProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// answer is what a person types when asked a question.
type answer struct{ question, typed string }

// call is one run of a program in a directory of its own, which has the files of newDirectory.
type call struct {
	args   []string // the name first
	env    []string
	typed  []answer // nil: no terminal
	passwd string   // pool_passwd before, "" is an empty file
}

func (c call) String() string {
	text := strings.Join(c.env, " ")
	for _, arg := range c.args {
		if len(arg) > 60 {
			arg = fmt.Sprintf("%s…(%d)", arg[:8], len(arg))
		}
		if quoted := strconv.Quote(arg); arg == "" || quoted != `"`+arg+`"` || strings.Contains(arg, " ") {
			arg = quoted
		}
		text += " " + arg
	}
	for _, a := range c.typed {
		text += fmt.Sprintf(" <%.20q(%d)", a.typed, len(a.typed))
	}
	if c.passwd != "" {
		text += fmt.Sprintf(" {%q}", c.passwd)
	}
	return strings.TrimSpace(text)
}

// result is what a run left behind, with what depends on the machine made alike.
type result struct {
	stdout, stderr string
	status         int
	passwd         string
	seen           string // on the terminal
}

func (r result) String() string {
	quote := func(s string) string {
		return "  " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n  ") + "\n"
	}
	text := ""
	for _, part := range []struct{ name, text string }{
		{"stdout", r.stdout}, {"stderr", r.stderr}, {"pool_passwd", r.passwd}, {"terminal", r.seen},
	} {
		if part.text != "" {
			text += part.name + ":\n" + quote(strings.ReplaceAll(part.text, "\r", `\r`))
			if !strings.HasSuffix(part.text, "\n") {
				text += "  (no end of line)\n"
			}
		}
	}
	return text + fmt.Sprintf("exit status %d\n", r.status)
}

// program runs ours, or the one in a directory.
type program string

const ours program = ""

// buffer is read while a program writes to it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (p program) command(t *testing.T, ctx context.Context, c call, dir string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(string(p), c.args[0])
	if p == ours {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		path = self
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Args, cmd.Dir = c.args, dir
	cmd.Env = append([]string{testProgram + "=1", "GORACE=atexit_sleep_ms=0", "PGPOOLKEYFILE=nokey"}, c.env...)
	return cmd
}

// run carries out a call.
func (p program) run(t *testing.T, c call) result {
	t.Helper()
	dir := newDirectory(t, c.passwd)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := p.command(t, ctx, c, dir)
	var out, errs buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var tt pty.Terminal
	if c.typed != nil {
		tt = pty.Open(t)
		tt.Attach(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, a := range c.typed {
		if p == ours { // theirs tells its questions when it ends, if it is not to a terminal
			await(t, ctx, a.question, &out)
		}
		tt.Type(t, a.typed)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	passwd, err := os.ReadFile(filepath.Join(dir, "pool_passwd"))
	if err != nil {
		passwd = []byte("(" + reason(err) + ")")
	}
	r := result{out.String(), strings.ReplaceAll(errs.String(), dir, "DIR"), cmd.ProcessState.ExitCode(), string(passwd), ""}
	if c.typed != nil && !tt.Echoes(t) {
		r.seen = "no echo"
	}
	return r
}

func await(t *testing.T, ctx context.Context, question string, out *buffer) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !strings.HasSuffix(out.String(), question) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no question %q but %q", question, out.String())
		}
	}
}

var processNumber = regexp.MustCompile(`pid \d+`)

// normal makes the usage, which has our own words, the process number and the home directory alike everywhere.
func (r result) normal(usage string) result {
	home := homeDirectory()
	for _, s := range []*string{&r.stdout, &r.stderr} {
		*s = strings.ReplaceAll(*s, usage, "(usage)\n")
		*s = processNumber.ReplaceAllString(*s, "pid N")
		*s = strings.ReplaceAll(*s, home+"/.pgpoolkey", "~/.pgpoolkey")
	}
	return r
}

// usageOf is what a program prints for --help.
func (p program) usageOf(t *testing.T, name string) string {
	t.Helper()
	r := p.run(t, call{args: []string{name, "--help"}})
	if r.status != 0 || r.stderr != "" || !strings.Contains(r.stdout, "--input-file") {
		t.Fatalf("%s --help: %v", name, r)
	}
	return r.stdout
}

// newDirectory has configuration, key and input files of many kinds.
func newDirectory(t *testing.T, passwd string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"pool_passwd":   passwd,
		"pgpool.conf":   "port = 9999\n",
		"insecure.conf": "allow_insecure_key_file = on\n",
		"off.conf":      "pool_passwd = ''\n",
		"broken.conf":   "num_init_children = many\n",
		"other.conf":    "pool_passwd = 'sub/other'\n",
		"key":           "mysecretkey\n",
		"key.open":      "mysecretkey\n",
		"key.long":      strings.Repeat("k", 300) + "\nsecond line\n",
		"key.255":       strings.Repeat("k", 255),
		"key.cr":        "mysecretkey\r\n",
		"key.blank":     "\nx\n",
		"key.empty":     "",
		"key.öäü":       "Schlüssel für Öl\n",
		"in":            "u1:p1\n\nnocolon\nu2:\nu3:a:b\n  u4:p4\nu6:p6 \n#c:x\n \nlast:öö\n",
		"in.noend":      "u1:p1\nu2:p2",
		"in.nouser":     ":p1\n",
		"in.long":       "ok:1\n" + strings.Repeat("a", 129) + ":x\nend:2\n",
		"in.longpw":     "u:" + strings.Repeat("b", 129) + "\nend:2\n",
		"in.toolong":    "u:" + strings.Repeat("b", maxPassword+1) + "\nend:2\n",
		"in.cr":         "u1:p1\r\n\r\nu2:p2\r\n",
		"in.empty":      "",
		"in.twice":      "u1:p1\nu1:p2\nu2:x\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(os.Chmod(filepath.Join(dir, "key.open"), 0o644), os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
