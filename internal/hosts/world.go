package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrUnavailable is the cause where this process may not make namespaces.
var ErrUnavailable = errors.New("simulated hosts need root and Linux namespaces")

// Device is a network device of a host: one end of a cable whose other end is plugged into a bridge.
type Device struct {
	Name    string       // as the host sees it, eth0 by default
	Network string       // hosts on networks of the same name reach each other; "" is a name like any other
	Address netip.Prefix // IPv4
}

// Spec describes a host.
type Spec struct {
	Name    string
	Devices []Device // the first one's address is what the name stands for in /etc/hosts
	Shares  []Share  // beside those of all hosts
}

// Options describe a World.
type Options struct {
	Hosts  []Spec
	Shares []Share // on every host
	// Users get an empty home directory on every host, as /etc/passwd names it. root has one anyway.
	Users []string
	// Path lists directories that stand behind the stand-ins' in the PATH of every command.
	Path []string
}

// World is a set of hosts and the bridges between them.
type World struct {
	opts     Options
	hosts    []*Host
	switches *os.File // the namespace of the bridges
	handle   *netlink.Handle
	mu       sync.Mutex // guards bridges: cables are cut by several goroutines
	bridges  map[string]int
}

// New makes the hosts. They are ready when it returns; [World.Close] removes them. The error is [ErrUnavailable] where the rights or the
// kernel are missing.
func New(ctx context.Context, opts Options) (_ *World, err error) {
	if err := possible(); err != nil {
		return nil, err
	}
	w := &World{opts: opts, bridges: map[string]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := w.makeSwitches(); err != nil {
		return nil, err
	}
	for _, spec := range opts.Hosts {
		h, err := w.boot(ctx, spec)
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", spec.Name, err)
		}
		w.hosts = append(w.hosts, h)
		if err := w.plugIn(ctx, h); err != nil {
			return nil, fmt.Errorf("host %s: %w", spec.Name, err)
		}
	}
	return w, nil
}

// possible tries to make namespaces.
func possible() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: this is not root", ErrUnavailable)
	}
	var root unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, 0, &root); err != nil || root.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return fmt.Errorf("%w: the root directory is no mount of its own, as in a chroot, so mounts cannot be made private", ErrUnavailable)
	}
	err := onOwnThread(func() error {
		return unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC)
	})
	if err != nil {
		return fmt.Errorf("%w: unshare: %w", ErrUnavailable, err)
	}
	return nil
}

// makeSwitches makes the namespace where the bridges are. It lives as long as we hold the file.
func (w *World) makeSwitches() error {
	err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("%w: network namespace: %w", ErrUnavailable, err)
		}
		w.switches, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return err
	}
	w.handle, err = netlink.NewHandleAt(netns.NsHandle(w.switches.Fd()))
	return err
}

// Host returns a host by its name, which must exist.
func (w *World) Host(name string) *Host {
	i := slices.IndexFunc(w.hosts, func(h *Host) bool { return h.Name == name })
	if i < 0 {
		panic("hosts: no host " + name)
	}
	return w.hosts[i]
}

// Hosts returns all of them.
func (w *World) Hosts() []*Host { return slices.Clone(w.hosts) }

// address finds what a host's name stands for; addresses stand for themselves.
func (w *World) address(name string) (netip.Addr, error) {
	for _, spec := range w.opts.Hosts {
		if spec.Name == name && len(spec.Devices) > 0 {
			return spec.Devices[0].Address.Addr(), nil
		}
	}
	if name == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	return netip.ParseAddr(name)
}

// hostsFile is /etc/hosts.
func (w *World) hostsFile() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
	for _, spec := range w.opts.Hosts {
		for i, d := range spec.Devices {
			if name := spec.Name; i == 0 {
				fmt.Fprintf(&b, "%s %s\n", d.Address.Addr(), name)
			} else {
				fmt.Fprintf(&b, "%s %s-%s\n", d.Address.Addr(), name, d.Name)
			}
		}
	}
	return b.String()
}

// Close ends every process of every host and removes them. Commands that were started on a host must be waited for by then or
// meanwhile: a namespace does not end before.
func (w *World) Close() error {
	var errs []error
	for _, h := range w.hosts {
		errs = append(errs, h.close())
	}
	if w.handle != nil {
		w.handle.Close()
	}
	if w.switches != nil {
		errs = append(errs, w.switches.Close())
	}
	return errors.Join(errs...)
}
