package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// task is one run of a program of PostgreSQL. Program and arguments are fixed by those who make one; no shell is involved.
type task struct {
	program string
	args    []string
	secret  string   // PGPASSWORD of the child, taken out of what it prints
	lock    *os.File // kept by the child, so that nobody acts beside it if we die first; may be nil
}

const (
	// maxOutput is how much of a program's output is kept: its end.
	maxOutput = 16 << 10
	// drainTime is how long children of a program that ended may keep its output open.
	drainTime = 2 * time.Second
)

// run runs a program as the server's user and returns what it printed. It ends with ctx, and with this process.
func (l *Local) run(ctx context.Context, p *place, t task) (string, error) {
	dir, err := l.binDirectory(ctx, p)
	if err != nil {
		return "", err
	}
	return p.exec(ctx, filepath.Join(dir, t.program), t)
}

func (p *place) exec(ctx context.Context, path string, t task) (string, error) {
	// The kernel ends the child when the thread that started it ends: it must be this one, until the child has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, path, t.args...)
	cmd.Env = p.environment(t.secret)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: p.owner.credential()}
	cmd.WaitDelay = drainTime
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // its children too
	if t.lock != nil {
		cmd.ExtraFiles = []*os.File{t.lock}
	}
	out := &tail{limit: maxOutput}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	text := out.String()
	if t.secret != "" {
		text = strings.ReplaceAll(text, t.secret, "****")
	}
	switch {
	case ctx.Err() != nil:
		return text, fmt.Errorf("%s: %w", t.program, context.Cause(ctx))
	case err != nil:
		return text, &programError{program: t.program, err: err, output: strings.TrimSpace(text)}
	}
	return text, nil
}

// environment is the whole environment of a child.
func (p *place) environment(secret string) []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + p.owner.home, "USER=" + p.owner.name, "LOGNAME=" + p.owner.name,
		"PGDATA=" + p.data, "LC_ALL=C", "PGCONNECT_TIMEOUT=10",
	}
	if secret != "" {
		env = append(env, "PGPASSWORD="+secret)
	}
	return env
}

// programError is a program that ended with an error.
type programError struct {
	program string
	err     error
	output  string
}

func (e *programError) Error() string {
	text := fmt.Sprintf("%s: %v", e.program, e.err)
	if e.output != "" {
		text += ": " + e.output
	}
	return text
}

func (e *programError) Unwrap() error { return e.err }

// tail keeps the end of what is written.
type tail struct {
	limit int
	kept  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string { return string(t.kept) }

// errNoPrograms is a host where the programs of the server's release were not found.
var errNoPrograms = errors.New("programs of PostgreSQL not found, set agent_bin_directory")

// binDirectory finds the programs that fit the data directory.
func (l *Local) binDirectory(ctx context.Context, p *place) (string, error) {
	dir := l.BinDirectory
	if next := l.nextBin.Load(); next != nil {
		dir = *next
	}
	if dir != "" {
		return dir, nil
	}
	version, err := p.version()
	if err != nil {
		return "", err
	}
	var dirs []string
	if version != "" {
		dirs = append(dirs, "/usr/lib/postgresql/"+version+"/bin", "/usr/pgsql-"+version+"/bin")
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	if path, err := exec.LookPath("pg_config"); err == nil {
		if out, err := p.exec(ctx, path, task{program: "pg_config", args: []string{"--bindir"}}); err == nil {
			dirs = append(dirs, strings.TrimSpace(out))
		}
	}
	if version == "" { // a directory that is yet to be made: of what is installed there must be one release
		if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin"); len(found) == 1 { // the only error is a bad pattern
			dirs = append(dirs, found[0])
		}
	}
	for _, dir := range dirs {
		if p.fits(ctx, dir, version) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: release %q", errNoPrograms, version)
}

// UseBinDirectory takes the place of BinDirectory from the next action on; "" has it looked for.
func (l *Local) UseBinDirectory(dir string) { l.nextBin.Store(&dir) }

// fits reports whether the programs in dir are of a release ("" is any).
func (p *place) fits(ctx context.Context, dir, version string) bool {
	path := filepath.Join(dir, "postgres")
	if info, err := os.Stat(path); err != nil || info.Mode()&0o111 == 0 {
		return false
	}
	if version == "" || filepath.Base(filepath.Dir(dir)) == version {
		return true
	}
	out, err := p.exec(ctx, path, task{program: "postgres", args: []string{"--version"}})
	words := strings.Fields(out)
	return err == nil && len(words) >= 3 && (words[2] == version || strings.HasPrefix(words[2], version+"."))
}

// version is the release in PG_VERSION, "" where there is no server yet.
func (p *place) version() (string, error) {
	text, err := p.readOwned("PG_VERSION")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	version := strings.TrimSpace(string(text))
	if version == "" || strings.Trim(version, "0123456789.") != "" || strings.Contains(version, "..") {
		return "", fmt.Errorf("%s/PG_VERSION is no release", p.data)
	}
	return version, nil
}
