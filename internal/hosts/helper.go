package hosts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// helperName is the name by which a host's process 1 is started.
const helperName = "gopgpool-test-host"

// RunHelper does nothing in a test. Where this process was started as the helper of a host or as one of its stand-in programs it
// does that work and exits.
func RunHelper() {
	switch name := filepath.Base(os.Args[0]); name {
	case helperName:
		os.Exit(beHost(os.Stdin, os.Stdout))
	case "ssh", "scp", "sudo", "logger":
		os.Exit(runStub(name, os.Args[1:]))
	}
}

// order is what the test asks of the helper. Each is answered.
type order struct {
	Signal int   // for every process of the host but the helper
	Pause  *bool // the helper's daemon answers nobody, or again
}

// answer is empty where all went well.
type answer struct {
	Error     string
	Processes int // that live, without the helper
}

// helper is process 1 of a host.
type helper struct {
	plan   plan
	reaper reaper
	gate   gate
}

// beHost builds the host and serves orders until the pipe is closed. The kernel then ends every process of the host.
func beHost(in io.Reader, out io.Writer) int {
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	h := &helper{gate: gate{cond: sync.NewCond(new(sync.Mutex))}}
	if err := h.boot(orders); err != nil {
		_ = answers.Encode(answer{Error: err.Error()}) // nobody reads it if the test is gone
		return 1
	}
	for ok := answers.Encode(answer{}) == nil; ok; {
		var o order
		if err := orders.Decode(&o); err != nil {
			return 0
		}
		ok = answers.Encode(h.obey(o)) == nil
	}
	return 0
}

func (h *helper) boot(orders *json.Decoder) error {
	if err := orders.Decode(&h.plan); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	unix.Umask(0o022)
	if err := unix.Sethostname([]byte(h.plan.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := (&rooter{plan: h.plan}).build(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", sshPort))
	if err != nil {
		return err
	}
	h.reaper.children = map[int]chan unix.WaitStatus{}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGPIPE)
	go h.reaper.run(signals)
	go h.serveSSH(listener)
	return nil
}

func (h *helper) obey(o order) (a answer) {
	if o.Pause != nil {
		h.gate.set(*o.Pause)
	}
	if o.Signal != 0 {
		// From process 1, -1 is every other process of the namespace.
		if err := unix.Kill(-1, unix.Signal(o.Signal)); err != nil && !errors.Is(err, unix.ESRCH) {
			a.Error = err.Error()
		}
	}
	a.Processes = livingProcesses()
	return a
}

// livingProcesses counts the processes of the host besides the helper, zombies not.
func livingProcesses() (n int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the only error is a bad pattern
	for _, file := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		data, err := os.ReadFile(file)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if state := processState(data); state != 'Z' && state != 'X' {
			n++
		}
	}
	return n
}

// processState is the third field of /proc/PID/stat; the second is a name in brackets that may contain anything.
func processState(stat []byte) byte {
	for i := len(stat) - 1; i >= 0; i-- {
		if stat[i] == ')' {
			if i+2 < len(stat) {
				return stat[i+2]
			}
			break
		}
	}
	return 'X'
}

// gate holds up whoever passes while it is shut.
type gate struct {
	cond *sync.Cond
	shut bool // guarded by cond.L
}

func (g *gate) set(shut bool) {
	g.cond.L.Lock()
	defer g.cond.L.Unlock()
	g.shut = shut
	g.cond.Broadcast()
}

func (g *gate) pass() {
	g.cond.L.Lock()
	defer g.cond.L.Unlock()
	for g.shut {
		g.cond.Wait()
	}
}

// reaper waits for all children, as process 1 must: for those it started, and for orphans.
type reaper struct {
	mu       sync.Mutex // held from a child's start until it is entered in children
	children map[int]chan unix.WaitStatus
}

// start starts a program. Its status comes by the channel.
func (r *reaper) start(path string, argv []string, attr *syscall.ProcAttr) (<-chan unix.WaitStatus, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, attr) // os.StartProcess would wait in the reaper's place
	if err != nil {
		return nil, err
	}
	ch := make(chan unix.WaitStatus, 1)
	r.children[pid] = ch
	return ch, nil
}

func (r *reaper) run(signals <-chan os.Signal) {
	for range signals {
		for r.reapOne() {
			continue
		}
	}
}

func (r *reaper) reapOne() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var status unix.WaitStatus
	pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
	if errors.Is(err, unix.EINTR) {
		return true
	}
	if err != nil || pid <= 0 {
		return false
	}
	if ch, ok := r.children[pid]; ok {
		ch <- status
		delete(r.children, pid)
	}
	return true
}
