package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxFile bounds small files that are read whole.
const maxFile = 1 << 20

// errNotOwned is a file that somebody else than the owner of the data directory may have written.
var errNotOwned = errors.New("is no plain file of the data directory's owner")

// readOwned reads a small plain file of the owner, never through a link at its end.
func (p *place) readOwned(name string) (text []byte, err error) {
	err = p.owner.as(func() error {
		text, err = readPlain(filepath.Join(p.data, name), p.owner.uid)
		return err
	})
	return text, err
}

func readPlain(path string, uid uint32) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || st.Uid != uid {
		return nil, fmt.Errorf("%s %w", path, errNotOwned)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes", path, info.Size())
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// pidFile is what postmaster.pid says that matters here.
type pidFile struct {
	pid    int
	port   int    // 0: not known
	status string // starting, stopping, ready, standby

	socketDir, listens string // the first of each; empty: none, or not known
}

// parsePidFile reads postmaster.pid; a server in single-user mode has a negative number there, which is no postmaster's.
func parsePidFile(text string) pidFile {
	lines := strings.Split(text, "\n")
	var f pidFile
	if pid, err := strconv.Atoi(strings.TrimSpace(lines[0])); err == nil && pid > 0 {
		f.pid = pid
	}
	if len(lines) > 3 {
		f.port, _ = strconv.Atoi(lines[3]) // 0 where it is no number
	}
	if len(lines) > 5 {
		f.socketDir, f.listens = strings.TrimSpace(lines[4]), strings.TrimSpace(lines[5])
	}
	if len(lines) > 7 {
		f.status = strings.TrimSpace(lines[7])
	}
	return f
}

// accepts reports whether the server takes connections, or is a standby that never will (hot_standby = off).
func (f pidFile) accepts() bool { return f.status == "ready" || f.status == "standby" }

// socketLock is the lock file beside the server's socket, "" where there is none.
func (f pidFile) socketLock() string {
	if f.port == 0 || !filepath.IsAbs(f.socketDir) {
		return ""
	}
	return filepath.Join(f.socketDir, ".s.PGSQL."+strconv.Itoa(f.port)+".lock")
}

func (p *place) pidFile() pidFile {
	text, err := p.readOwned("postmaster.pid")
	if err != nil {
		return pidFile{}
	}
	return parsePidFile(string(text))
}

func (p *place) postmasterPID() int { return p.pidFile().pid }

// errOptions is a postmaster.opts that cannot be read one way only.
var errOptions = errors.New("postmaster.opts cannot be understood")

// parseOptions reads postmaster.opts: the program, then each argument in double quotes, without any escaping. Arguments that hold
// quotes can therefore not be told apart and are refused.
func parseOptions(text string) ([]string, error) {
	text = strings.TrimSuffix(text, "\n")
	_, rest, found := strings.Cut(text, ` "`)
	if !found {
		return nil, nil
	}
	if !strings.HasSuffix(rest, `"`) {
		return nil, fmt.Errorf("%w: no quote at its end", errOptions)
	}
	args := strings.Split(strings.TrimSuffix(rest, `"`), `" "`)
	for _, a := range args {
		if strings.ContainsAny(a, "\"\x00\n") {
			return nil, fmt.Errorf("%w: a quote within %q", errOptions, a)
		}
	}
	return args, nil
}

// serverArguments makes what the server was started with last into arguments for its next start at data: relative directories are
// data itself, since nobody knows any more what they were relative to.
func serverArguments(args []string, data string) ([]string, error) {
	args = slices.Clone(args)
	if len(args) > 0 && strings.HasPrefix(args[0], "--") && modeArgument(args[0]) {
		return nil, fmt.Errorf("%w: %q starts no server", errOptions, args[0])
	}
	named := false
	for i, a := range args {
		switch {
		case a == "-D" && i+1 < len(args):
			named = true
			if !filepath.IsAbs(args[i+1]) {
				args[i+1] = data
			}
		case strings.HasPrefix(a, "-D") && len(a) > 2:
			named = true
			if !filepath.IsAbs(a[2:]) {
				args[i] = "-D" + data
			}
		}
	}
	if !named {
		args = append([]string{"-D", data}, args...)
	}
	return args, nil
}

// modeArgument: postgres does something else than serving when its first argument is one of these.
func modeArgument(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	return slices.Contains([]string{"single", "boot", "check", "describe-config", "help", "version"}, name) ||
		strings.HasPrefix(name, "fork")
}

// arguments are those of the server's next start.
func (p *place) arguments() ([]string, error) {
	text, err := p.readOwned("postmaster.opts")
	if errors.Is(err, os.ErrNotExist) {
		return serverArguments(nil, p.data)
	}
	if err != nil {
		return nil, err
	}
	args, err := parseOptions(string(text))
	if err != nil {
		return nil, err
	}
	return serverArguments(args, p.data)
}
