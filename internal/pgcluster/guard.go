package pgcluster

import (
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

// guard is a shell that outlives this process by a moment: it reads from a pipe whose other end only we hold, so however we
// end, it sees the end of the file, stops the children it was told of and removes the directory. It ignores the terminal's
// signals and has a session of its own.
type guard struct {
	cmd  *exec.Cmd
	mu   sync.Mutex // one line at a time
	pipe io.WriteCloser
}

// The lines are "+pid", "-pid" and, after an orderly end, ".". SIGQUIT is an immediate stop to a server and to a pgpool. Servers that
// others have started are not told of; they work in the directory.
const guardScript = `
trap '' INT TERM HUP QUIT
pids=' ' orderly=
while read -r line; do
	case $line in
	+*) pids="$pids${line#+} " ;;
	-*) p=${line#-}; case $pids in *" $p "*) pids="${pids%% $p *} ${pids#* $p }" ;; esac ;;
	.) orderly=yes ;;
	esac
done
for p in $pids; do kill -QUIT $p; done
tries=0
for p in $pids; do
	while kill -0 $p && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
	kill -KILL -$p
done
[ $# -eq 0 ] || [ "$orderly" ] || for cwd in /proc/[0-9]*/cwd; do
	case $(readlink $cwd) in "$1"/*) p=${cwd#/proc/}; kill -KILL ${p%/cwd} ;; esac
done
[ $# -eq 0 ] || rm -rf "$1" || { sleep 1; rm -rf "$1"; }
`

// startGuard watches over dir, which it removes at the end; an empty dir means that there is none to remove.
func startGuard(dir string) (*guard, error) {
	args := []string{"-c", guardScript, "pgcluster-guard"}
	if dir != "" {
		args = append(args, dir)
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return &guard{cmd: cmd, pipe: pipe}, nil
}

func (g *guard) say(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = fmt.Fprintf(g.pipe, format+"\n", args...) // a dead guard shows in close
}

func (g *guard) watch(pid int)  { g.say("+%d", pid) }
func (g *guard) forget(pid int) { g.say("-%d", pid) }

// close lets the guard do its work, which after an orderly stop is only the directory, and waits for it.
func (g *guard) close() error {
	g.say(".")
	if err := g.pipe.Close(); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	return nil
}
