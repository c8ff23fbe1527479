package vip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// finding is an address as the kernel has it.
type finding struct {
	link      int // index of the device
	device    string
	prefix    netip.Prefix
	label     string
	broadcast bool
	noRoute   bool
	permanent bool // has no lifetime
	seconds   int  // what is left of its lifetime, rounded up
	loopback  bool
	running   bool // the device has a carrier
}

// place is where a finding would be placed again.
func (f finding) place() place {
	return place{device: f.device, prefix: f.prefix, label: f.label, broadcast: f.broadcast, noRoute: f.noRoute}
}

// outlasts reports whether it would be there when a lease ends, if nobody did anything.
func (f finding) outlasts(now, until time.Duration) bool {
	return f.permanent || outlives(now, until+time.Second, f.seconds) // the kernel's number is up to a second too high
}

// kernel is a netlink socket. It is used by one goroutine.
type kernel struct{ handle *netlink.Handle }

// kernelLimit bounds the wait for an answer of the kernel.
const kernelLimit = 2 * time.Second

func openKernel() (*kernel, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	if err := handle.SetSocketTimeout(kernelLimit); err != nil {
		handle.Close()
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &kernel{handle: handle}, nil
}

func (k *kernel) close() { k.handle.Close() }

func family(ip netip.Addr) int {
	if ip.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// find lists where ip is an address of this host.
func (k *kernel) find(ip netip.Addr) ([]finding, error) {
	addresses, err := k.handle.AddrList(nil, family(ip))
	for again := 0; again < 5 && errors.Is(err, netlink.ErrDumpInterrupted); again++ { // somebody changed them meanwhile
		addresses, err = k.handle.AddrList(nil, family(ip))
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var found []finding
	for _, a := range addresses {
		if got, ok := netip.AddrFromSlice(a.IP); !ok || got.Unmap() != ip {
			continue
		}
		link, err := k.handle.LinkByIndex(a.LinkIndex)
		if err != nil {
			continue // gone since
		}
		found = append(found, newFinding(ip, &a, link.Attrs()))
	}
	return found, nil
}

func newFinding(ip netip.Addr, a *netlink.Addr, link *netlink.LinkAttrs) finding {
	bits, _ := a.Mask.Size()
	return finding{
		link: link.Index, device: link.Name, prefix: netip.PrefixFrom(ip, bits), label: a.Label,
		broadcast: len(a.Broadcast) > 0 && !a.Broadcast.IsUnspecified(),
		noRoute:   a.Flags&unix.IFA_F_NOPREFIXROUTE != 0,
		permanent: uint32(a.ValidLft) == 1<<32-1, seconds: a.ValidLft,
		loopback: link.Flags&net.FlagLoopback != 0, running: link.Flags&net.FlagRunning != 0,
	}
}

// create places the address, or changes the lifetime of one that is there.
func (k *kernel) create(p place, seconds int) error {
	link, err := k.handle.LinkByName(p.device)
	if err != nil {
		return fmt.Errorf("device %q: %w", p.device, err)
	}
	p.noRoute = p.noRoute || k.hasRoute(link, p.prefix)
	a := p.message(seconds)
	a.Label = p.label
	if err := k.handle.AddrReplace(link, a); err != nil {
		return fmt.Errorf("add %s to %q: %w", p.prefix, p.device, err)
	}
	return nil
}

// hasRoute reports whether another IPv6 address of the device is on the same network. The route to it is that one's then, and must not
// end with our lifetime.
func (k *kernel) hasRoute(link netlink.Link, p netip.Prefix) bool {
	if p.Addr().Is4() {
		return false // further addresses have no route of their own
	}
	addresses, err := k.handle.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return false
	}
	for _, a := range addresses {
		ip, ok := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		if ok && ip != p.Addr() && bits == p.Bits() && p.Contains(ip) {
			return true
		}
	}
	return false
}

// errMissing is the answer to a refresh of an address that is not there.
var errMissing = errors.New("the address is gone")

// refresh changes the lifetime of an address that is there. It cannot create one: the request has a flag that the kernel heeds only
// when it makes an address, and refuses for one that is not multicast. (A kernel that does not know the flag, older than 4.2,
// would create it; the check after the call is left then.)
func (k *kernel) refresh(f finding, seconds int) error {
	a := f.place().message(seconds)
	a.Flags |= unix.IFA_F_MCAUTOJOIN
	a.LinkIndex = f.link
	switch err := k.handle.AddrReplace(nil, a); {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EADDRNOTAVAIL):
		return errMissing
	case err != nil:
		return fmt.Errorf("refresh %s on %q: %w", f.prefix, f.device, err)
	}
	return nil
}

// remove deletes an address. That it is not there is no error.
func (k *kernel) remove(f finding) error {
	a := &netlink.Addr{IPNet: ipNet(f.prefix), LinkIndex: f.link}
	err := k.handle.AddrDel(nil, a)
	if err == nil || errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("delete %s from %q: %w", f.prefix, f.device, err)
}

// message is the address for a request. It always has a lifetime: without one it would be permanent.
func (p place) message(seconds int) *netlink.Addr {
	if seconds < 1 {
		panic("vip: bug: an address without a lifetime")
	}
	a := &netlink.Addr{IPNet: ipNet(p.prefix), ValidLft: seconds, PreferedLft: seconds}
	if p.prefix.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // else it would not answer for more than a second
		a.PreferedLft = 0          // else this host might connect to others from it, and those connections die when it moves
		if p.noRoute {
			a.Flags |= unix.IFA_F_NOPREFIXROUTE
		}
	} else if !p.broadcast {
		a.Broadcast = net.IPv4zero // none
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// device is what announcing and probing need to know of a network device.
type device struct {
	index    int
	name     string
	hardware net.HardwareAddr // of six bytes
}

var errNoEthernet = errors.New("the device has no Ethernet address")

func (k *kernel) device(link netlink.Link) (device, error) {
	a := link.Attrs()
	if len(a.HardwareAddr) != 6 || a.Flags&net.FlagLoopback != 0 {
		return device{}, fmt.Errorf("%q: %w", a.Name, errNoEthernet)
	}
	return device{index: a.Index, name: a.Name, hardware: a.HardwareAddr}, nil
}

// watcher reads the kernel's events. What they say is not looked at: they are a reason to look.
type watcher struct{ file *os.File }

// openWatcher subscribes to changes of links and addresses.
func openWatcher() (*watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return &watcher{file: os.NewFile(uintptr(fd), "netlink events")}, nil
}

// run calls happened after every event until the watcher is closed.
func (w *watcher) run(happened func()) {
	buf := make([]byte, 64<<10)
	for {
		_, err := w.file.Read(buf)
		if err != nil && !errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.EINTR) { // no buffers: events were lost
			return
		}
		happened()
	}
}

func (w *watcher) close() { _ = w.file.Close() } // nothing was written
