package pgcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// StopMode says how a server stops, in pg_ctl's words.
type StopMode int

// The modes: Smart waits for the clients, Fast ends their sessions, Immediate does not even write a checkpoint.
const (
	Smart StopMode = iota
	Fast
	Immediate
)

var stopSignals = [...]syscall.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}

// Node is one server. One that somebody else has started, a pgpool say, is found by its postmaster.pid.
type Node struct {
	// ID counts from 0; Name is its application_name and cluster_name, serverID.
	ID   int
	Name string
	// Host and Port are where clients connect.
	Host string
	Port int
	// DataDir is its data directory, Log the file of its messages.
	DataDir, Log string

	cluster *Cluster
	mu      sync.Mutex // guards proc
	proc    *process
}

func newNode(c *Cluster, id, port int) *Node {
	name := fmt.Sprintf("server%d", id)
	return &Node{
		ID: id, Name: name, Host: c.opts.Host, Port: port, cluster: c,
		DataDir: filepath.Join(c.Dir, fmt.Sprintf("data%d", id)), Log: filepath.Join(c.Dir, "log", name+".log"),
	}
}

// Slot is the name of the replication slot the node uses as a standby.
func (n *Node) Slot() string { return fmt.Sprintf("%s%d", n.cluster.opts.SlotPrefix, n.ID) }

func (n *Node) archive() string {
	return filepath.Join(n.cluster.Dir, "archivedir", fmt.Sprintf("data%d", n.ID))
}

// create makes a new server and starts it.
func (n *Node) create(ctx context.Context) error {
	o := n.cluster.opts
	o.Progress(fmt.Sprintf("creating database cluster %s", n.DataDir))
	args := append([]string{"-D", n.DataDir, "-U", o.User, "-A", o.Auth, "--no-sync"}, o.InitdbArgs...)
	if o.Password != "" {
		secret := n.DataDir + ".pw"
		if err := n.cluster.as.write(secret, o.Password+"\n", 0o600); err != nil {
			return err
		}
		defer os.Remove(secret)
		args = append(args, "--pwfile", secret)
	}
	if err := n.cluster.spawner.complete(ctx, "initdb", nil, n.cluster.program("initdb"), args...); err != nil {
		return err
	}
	if err := n.adopt(); err != nil {
		return err
	}
	return n.Start(ctx)
}

// adopt turns a fresh data directory into one that reads our files.
func (n *Node) adopt() error {
	f, err := os.OpenFile(filepath.Join(n.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(includeLines)
	return errors.Join(err, f.Close(), n.writeFile("pg_hba.conf", n.cluster.hba()),
		n.writeFile(recoveryConf, ""), n.Configure())
}

// Configure writes the settings of Options and the node again. They count from the next start or Reload.
func (n *Node) Configure() error {
	if n.cluster.opts.Archive {
		if err := n.cluster.as.mkdir(n.archive(), 0o700); err != nil {
			return err
		}
	}
	return n.writeFile(NodeConf, n.nodeSettings())
}

func (n *Node) writeFile(name, text string) error {
	return n.cluster.as.write(filepath.Join(n.DataDir, name), text, 0o600)
}

// Start starts the server and waits until it answers.
func (n *Node) Start(ctx context.Context) error {
	if n.Running() {
		return fmt.Errorf("%s runs already", n.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	n.cluster.opts.Progress(fmt.Sprintf("starting %s on port %d", n.Name, n.Port))
	log, err := openLog(n.Log, n.cluster.as)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(n.cluster.program("postgres"), "-D", n.DataDir)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.DataDir, log, log
	p, err := n.cluster.spawner.start(n.Name, cmd, false)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.proc = p
	n.mu.Unlock()
	var last error
	err = Poll(ctx, n.Name+" answers", func() (bool, error) {
		if p.exited() {
			return false, exitedEarly(p, n.Log)
		}
		_, err := n.Value(ctx, "SELECT 1")
		if ctx.Err() == nil {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// Stop stops the server and waits for its end. A server that does not run is stopped.
func (n *Node) Stop(ctx context.Context, mode StopMode) error {
	p := n.process()
	if p == nil {
		return nil
	}
	if err := p.signal(stopSignals[mode]); err != nil {
		return err
	}
	_, err := p.wait(ctx)
	return err
}

// Restart stops the server in fast mode and starts it.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Stop(ctx, Fast); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Reload makes the server read its files again.
func (n *Node) Reload() error { return n.signal(syscall.SIGHUP) }

// Kill ends all processes of the server by SIGKILL, as a loss of the machine would, and waits until they are gone.
func (n *Node) Kill(ctx context.Context) error {
	p := n.process()
	if p == nil {
		return nil
	}
	all := family(p.pid)
	killAll(all)
	if _, err := p.wait(ctx); err != nil {
		return err
	}
	if err := n.Sweep(ctx); err != nil {
		return err
	}
	// One that is ending has no working directory any more by which Sweep could find it.
	return Poll(ctx, n.Name+" has no processes", func() (bool, error) { return len(living(all)) == 0, nil })
}

// KillFirst ends the server's first process alone by SIGKILL and waits until it is gone. Its children notice and end by themselves,
// those at work later than others; Sweep before the next start.
func (n *Node) KillFirst(ctx context.Context) error {
	p := n.process()
	if p == nil {
		return nil
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := p.wait(ctx)
	return err
}

// Sweep removes what a server whose first process is gone has left: processes and shared memory.
func (n *Node) Sweep(ctx context.Context) error {
	// A backend forked meanwhile, or one the list missed, dies by itself; the data directory is free when none has it as cwd.
	err := Poll(ctx, n.Name+" is gone", func() (bool, error) {
		left := n.strays()
		killAll(left)
		return len(left) == 0, nil
	})
	return errors.Join(err, n.dropSharedMemory())
}

// strays are the processes whose working directory is the data directory, as that of all processes of a server.
func (n *Node) strays() []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the only error is a bad pattern
	for _, link := range links {
		if dir, err := os.Readlink(link); err == nil && dir == n.DataDir {
			if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// dropSharedMemory removes the System V segment that a killed server leaves; its id is the second number of line 7 of
// postmaster.pid.
func (n *Node) dropSharedMemory() error {
	f, err := os.Open(filepath.Join(n.DataDir, "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for i := 1; lines.Scan(); i++ {
		fields := strings.Fields(lines.Text())
		if i != 7 || len(fields) != 2 {
			continue
		}
		id, err := strconv.Atoi(fields[1])
		if err != nil {
			return err
		}
		if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
			return fmt.Errorf("%s: shared memory %d: %w", n.Name, id, err)
		}
	}
	return lines.Err()
}

// Pause stops all processes of the server with SIGSTOP: it keeps its sockets and answers nothing. When it returns, all of them have
// stopped, also those that were forked meanwhile.
func (n *Node) Pause() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return Poll(ctx, n.Name+" is frozen", func() (bool, error) {
		// A process stops when it gets a processor, until then it may fork. The first one leads: when it has stopped, the next list is
		// complete but for children of its children.
		frozen := true
		for _, pid := range n.Pids() {
			if stopped(pid) {
				continue
			}
			frozen = false
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
				return false, fmt.Errorf("%s: %w", n.Name, err)
			}
		}
		return frozen, nil
	})
}

// Resume undoes Pause.
func (n *Node) Resume() error { return n.signalFamily(syscall.SIGCONT) }

func (n *Node) signalFamily(sig syscall.Signal) error {
	for _, pid := range n.Pids() {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return nil
}

func (n *Node) signal(sig syscall.Signal) error {
	p := n.process()
	if p == nil {
		return fmt.Errorf("%s does not run", n.Name)
	}
	return p.signal(sig)
}

// abandon stops at once and without care, for Close.
func (n *Node) abandon(ctx context.Context) error {
	p := n.process()
	if p == nil {
		return nil
	}
	if err := errors.Join(n.Resume(), p.signal(syscall.SIGQUIT)); err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, startTimeout/6)
	defer cancel()
	if _, err := p.wait(soon); err == nil {
		return nil
	}
	return n.Kill(ctx)
}

// Running reports whether the server's first process lives.
func (n *Node) Running() bool { return n.process() != nil }

// Pids are the processes of the server, its first one leading; none when it does not run.
func (n *Node) Pids() []int {
	p := n.process()
	if p == nil {
		return nil
	}
	return family(p.pid)
}

func (n *Node) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil || n.proc.exited() {
		return n.adopted()
	}
	return n.proc
}

// adopted is the server's first process where somebody else has started it, which postmaster.pid tells; nil if there is none.
func (n *Node) adopted() *process {
	text, err := os.ReadFile(filepath.Join(n.DataDir, "postmaster.pid"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 0 || !livesIn(pid, n.DataDir) { // negative in single-user mode
		return nil
	}
	return &process{name: n.Name, pid: pid, home: n.DataDir}
}

func (c *Cluster) program(name string) string { return filepath.Join(c.BinDir, name) }
