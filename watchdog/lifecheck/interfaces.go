package lifecheck

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gopgpool/logging"
)

const (
	deadNetwork = "network event has occurred and all monitored interfaces are down"
	noAddress   = "network event has occurred and no address is left on this host"
	wellNetwork = "a monitored interface works again"

	rereadTime = 3 * time.Second       // events can be lost
	restTime   = 20 * time.Millisecond // events come in bunches
)

// device is a network device as far as it matters here.
type device struct {
	name      string
	active    bool // it is up and has a carrier
	loopback  bool
	addresses []netip.Addr
}

// monitor decides what devices mean (manual: wd_monitoring_interfaces_list). It is pure.
type monitor struct {
	list     []string
	delegate netip.Addr
	only4    bool // the host had an IPv4 address: one of another family is no replacement
}

const anyDevice = "any"

// watched picks the devices of the list: the named ones, or with "any" all whose name does not begin with lo. A name that does not exist
// is an error.
func (m *monitor) watched(all []device) (picked []device, err error) {
	if slices.ContainsFunc(m.list, func(name string) bool { return strings.EqualFold(name, anyDevice) }) {
		for _, d := range all {
			if !strings.HasPrefix(d.name, "lo") {
				picked = append(picked, d)
			}
		}
		return picked, nil
	}
	for _, name := range m.list {
		i := slices.IndexFunc(all, func(d device) bool { return d.name == name })
		if i < 0 {
			err = errors.Join(err, fmt.Errorf("wd_monitoring_interfaces_list: there is no network interface \"%s\"", name))
			continue
		}
		picked = append(picked, all[i])
	}
	return picked, err
}

// trouble says what is wrong, "" if nothing is. A device that is gone is down.
func (m *monitor) trouble(all []device) string {
	watched, _ := m.watched(all)
	switch {
	case !slices.ContainsFunc(watched, func(d device) bool { return d.active }):
		return deadNetwork
	case !slices.ContainsFunc(all, m.hasAddress):
		return noAddress
	}
	return ""
}

// hasAddress reports whether others could reach the device. The virtual address may be taken away any time.
func (m *monitor) hasAddress(d device) bool {
	return !d.loopback && slices.ContainsFunc(d.addresses, func(a netip.Addr) bool {
		a = a.Unmap()
		return a != m.delegate && !a.IsLoopback() && (a.Is4() || !m.only4 && !a.IsLinkLocalUnicast())
	})
}

// begin takes the state at the start for granted, unless a name does not exist or no device works.
func (m *monitor) begin(all []device) error {
	watched, err := m.watched(all)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(watched, func(d device) bool { return d.active }) {
		return errors.New("no valid network interface is active; an empty wd_monitoring_interfaces_list disables the check")
	}
	four := *m
	four.only4 = true
	m.only4 = slices.ContainsFunc(all, four.hasAddress)
	return nil
}

// network is the kernel's view of devices in one network namespace.
type network struct {
	kernel *netlink.Handle
	events *os.File
	reread time.Duration
}

// openNetwork subscribes to changes of links and addresses.
func openNetwork() (*network, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	n := &network{events: os.NewFile(uintptr(fd), "netlink"), reread: rereadTime}
	groups := unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: uint32(groups)}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), n.close())
	}
	if n.kernel, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *network) close() error {
	if n.kernel != nil {
		n.kernel.Close()
	}
	return n.events.Close()
}

// await returns after an event or a while; false once the network has been closed. What happened is not of interest: everything is read
// anew, and of many events at once only the first wakes.
func (n *network) await() bool {
	if err := n.events.SetReadDeadline(time.Now().Add(n.reread)); err != nil {
		return false
	}
	buffer := make([]byte, 1<<14)
	for read := 0; ; read++ {
		_, err := n.events.Read(buffer)
		switch {
		case errors.Is(err, os.ErrClosed):
			return false
		case err != nil, read > 100: // the deadline, or more events than the kernel kept
			return true
		}
		// The rest of what is there by now, without waiting.
		if err := n.events.SetReadDeadline(time.Now()); err != nil {
			return false
		}
	}
}

// devices reads all devices with their addresses.
func (n *network) devices() ([]device, error) {
	links, err := n.kernel.LinkList()
	if err != nil {
		return nil, fmt.Errorf("reading network interfaces: %w", err)
	}
	addresses, err := n.kernel.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("reading addresses: %w", err)
	}
	devices := make([]device, len(links))
	for i, link := range links {
		a := link.Attrs()
		const works = unix.IFF_RUNNING | unix.IFF_LOWER_UP
		d := device{name: a.Name, active: a.RawFlags&works == works, loopback: a.RawFlags&unix.IFF_LOOPBACK != 0}
		for _, address := range addresses {
			if ip, ok := netip.AddrFromSlice(address.IP); ok && address.LinkIndex == a.Index {
				d.addresses = append(d.addresses, ip)
			}
		}
		devices[i] = d
	}
	return devices, nil
}

// interfaceWatch watches the devices for the life of the checks.
type interfaceWatch struct {
	checks  *Checks
	network *network
	monitor monitor
}

// watchInterfaces reads the devices for the first time; nil where none are to be monitored.
func (k *Checks) watchInterfaces(c *Config) (*interfaceWatch, error) {
	if len(c.Interfaces) == 0 {
		return nil, nil
	}
	n, err := k.network()
	if err != nil {
		return nil, fmt.Errorf("watching network interfaces: %w", err)
	}
	w := &interfaceWatch{checks: k, network: n, monitor: monitor{list: c.Interfaces, delegate: c.Delegate.Unmap()}}
	all, err := n.devices()
	if err == nil {
		err = w.monitor.begin(all)
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	k.log.Log(logging.Event{Message: "interface monitoring is enabled in watchdog", Detail: strings.Join(c.Interfaces, ", ")})
	return w, nil
}

// run reads the devices at each event and now and then.
func (w *interfaceWatch) run(ctx context.Context) {
	release := context.AfterFunc(ctx, func() { _ = w.network.events.Close() })
	defer func() {
		release()
		_ = w.network.close()
	}()
	s := &state{checks: w.checks, self: NoNetwork}
	for ctx.Err() == nil {
		w.look(s)
		if !w.network.await() || !pause(ctx, restTime) {
			return
		}
	}
}

// look reports what the devices mean now. Where they cannot be read nothing is known.
func (w *interfaceWatch) look(s *state) {
	all, err := w.network.devices()
	if err != nil {
		w.checks.log.Log(logging.Event{Severity: logging.Warning, Message: "watchdog cannot check the network interfaces", Detail: err.Error()})
		return
	}
	trouble := w.monitor.trouble(all)
	s.set(trouble != "", trouble, wellNetwork)
}
