package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one of a World.
type Host struct {
	Name  string
	world *World
	spec  Spec
	ports []port

	helper *exec.Cmd
	said   *bytes.Buffer // the helper's error output; read when it has ended
	orders io.WriteCloser
	mu     sync.Mutex // one order and its answer at a time
	encode *json.Encoder
	decode *json.Decoder

	net    *os.File     // its network namespace
	doors  sync.RWMutex // closed while the namespaces are being closed
	others []space      // its other namespaces
}

type space struct {
	file *os.File
	kind int
}

// namespaces are what a host has for itself, with the names in /proc/PID/ns.
const namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC

func (w *World) boot(ctx context.Context, spec Spec) (_ *Host, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &Host{Name: spec.Name, world: w, spec: spec, said: &bytes.Buffer{}}
	h.helper = &exec.Cmd{Path: program, Args: []string{helperName}, Dir: "/", Stderr: h.said}
	h.helper.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	h.helper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Setsid: true}
	if h.orders, err = h.helper.StdinPipe(); err != nil {
		return nil, err
	}
	answers, err := h.helper.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.encode, h.decode = json.NewEncoder(h.orders), json.NewDecoder(answers)
	if err := h.helper.Start(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = h.helper.Process.Kill() }) // or it has ended
	defer stop()
	_, err = h.ask(plan{
		Name: spec.Name, Program: program, Hosts: w.hostsFile(), Shares: slices.Concat(w.opts.Shares, spec.Shares), Users: w.opts.Users,
		Path: w.opts.Path,
	})
	if err != nil {
		return nil, err
	}
	return h, h.openNamespaces()
}

// ask sends the helper what it waits for and returns its answer.
func (h *Host) ask(what any) (answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.encode.Encode(what); err != nil {
		return answer{}, err
	}
	var a answer
	if err := h.decode.Decode(&a); err != nil {
		return a, fmt.Errorf("the helper has ended: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (h *Host) openNamespaces() (err error) {
	open := func(name string) *os.File {
		f, e := os.Open(fmt.Sprintf("/proc/%d/ns/%s", h.helper.Process.Pid, name))
		err = errors.Join(err, e)
		return f
	}
	h.net = open("net")
	h.others = []space{
		{open("uts"), unix.CLONE_NEWUTS}, {open("ipc"), unix.CLONE_NEWIPC}, {open("pid"), unix.CLONE_NEWPID}, {open("mnt"), unix.CLONE_NEWNS},
	}
	return err
}

// closeLimit is how long the end of a host may take.
const closeLimit = 20 * time.Second

func (h *Host) close() error {
	// The kernel ends what runs on the host when its process 1 ends, and that is not over before.
	errs := []error{h.orders.Close()}
	ended := make(chan error, 1)
	go func() { ended <- h.helper.Wait() }()
	select {
	case err := <-ended:
		if err != nil || h.said.Len() > 0 {
			errs = append(errs, fmt.Errorf("host %s: helper: %w: %s", h.Name, err, h.said))
		}
	case <-time.After(closeLimit):
		errs = append(errs, fmt.Errorf("host %s does not end: is there a command that nobody waits for?", h.Name))
	}
	h.doors.Lock()
	defer h.doors.Unlock()
	for _, f := range append(h.others, space{file: h.net}) {
		if f.file != nil {
			errs = append(errs, f.file.Close())
		}
	}
	return errors.Join(errs...)
}

// onOwnThread runs f on a thread that ends afterwards, whatever f has made of it.
func onOwnThread(f func() error) error {
	result := make(chan error, 1)
	go visit(f, result)
	return <-result
}

func visit(f func() error, result chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if unix.Gettid() == os.Getpid() {
		// The main thread cannot end. While it is held here, another one does it.
		visitor := make(chan error, 1)
		go visit(f, visitor)
		result <- <-visitor
		runtime.UnlockOSThread()
		return
	}
	err := errors.New("hosts: the visit was broken off")
	defer func() { result <- err }()
	err = f()
}

// Within runs f on a thread of this process that is on the host: files, sockets and child processes that f opens or starts itself are
// the host's, and sockets stay so. Goroutines that f starts are not there.
func (h *Host) Within(f func() error) error {
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := h.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter takes the thread to the host. A visitor may come late, when the host is being closed (a driver that cancels, say).
func (h *Host) enter() error {
	h.doors.RLock()
	defer h.doors.RUnlock()
	for _, s := range append([]space{{h.net, unix.CLONE_NEWNET}}, h.others...) {
		if err := unix.Setns(int(s.file.Fd()), s.kind); err != nil {
			return fmt.Errorf("enter %s: %w", h.Name, err)
		}
	}
	return nil
}

// Command prepares a program that runs on the host as a user, in that user's home. It is started with [Host.Start] and ended with ctx.
func (h *Host) Command(ctx context.Context, user, name string, args ...string) (*exec.Cmd, error) {
	var who account
	err := h.Within(func() (err error) {
		who, err = lookUpAccount(user)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, err)
	}
	// env searches the PATH of the host.
	cmd := exec.CommandContext(ctx, "/usr/bin/env", append([]string{name}, args...)...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = who.environment(h.world.opts.Path), who.home, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who.credential(), Setsid: true}
	return cmd, nil
}

// Start starts a command of [Host.Command]. The caller waits for it.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Within(cmd.Start) }

// Run has a user's shell command carried out and returns what it wrote. An error holds that as well.
func (h *Host) Run(ctx context.Context, user, command string) (string, error) {
	cmd, err := h.Command(ctx, user, "/bin/sh", "-c", command)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = h.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return out.String(), fmt.Errorf("%s@%s: %s: %w\n%s", user, h.Name, command, err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Dial connects from the host, to host:port; the host may be named as in /etc/hosts.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ip, err := h.world.address(name)
	if err != nil {
		return nil, err
	}
	err = h.Within(func() (err error) {
		// With a number there is nothing to look up, and so no other goroutine.
		conn, err = new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(ip.String(), port))
		return err
	})
	return conn, err
}

// Address is what the host's name stands for.
func (h *Host) Address() netip.Addr {
	a, err := h.world.address(h.Name)
	if err != nil {
		panic("hosts: host " + h.Name + " has no address")
	}
	return a
}

// ReadFile reads a file of the host.
func (h *Host) ReadFile(path string) (data []byte, err error) {
	err = h.Within(func() (err error) {
		data, err = os.ReadFile(path)
		return err
	})
	return data, err
}

// WriteFile replaces a file of the host by one of a user, and makes the directories above it.
func (h *Host) WriteFile(user, path, text string, mode fs.FileMode) error {
	return h.Within(func() error {
		who, err := lookUpAccount(user)
		if err != nil {
			return err
		}
		if err := makeParents(path, who); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			return err
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
		return os.Chown(path, int(who.uid), int(who.gid))
	})
}

// Append opens a file of a user's on the host to write at its end, for instance to be a command's output. It is made if it is missing,
// and the directories above it.
func (h *Host) Append(user, path string) (f *os.File, err error) {
	err = h.Within(func() error {
		who, err := lookUpAccount(user)
		if err != nil {
			return err
		}
		if err := makeParents(path, who); err != nil {
			return err
		}
		if f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err != nil {
			return err
		}
		return f.Chown(int(who.uid), int(who.gid))
	})
	return f, err
}

// makeParents makes the missing directories above path; they are the user's.
func makeParents(path string, who account) error {
	dir := parent(path)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := makeParents(dir, who); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return os.Chown(dir, int(who.uid), int(who.gid))
}

func parent(path string) string {
	i := strings.LastIndexByte(strings.TrimRight(path, "/"), '/')
	if i <= 0 {
		return "/"
	}
	return path[:i]
}
