package lifecheck

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"gopgpool/internal/hosts"
	"gopgpool/logging"
)

func addresses(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

func TestMonitor(t *testing.T) {
	lo := device{"lo", true, true, addresses("127.0.0.1", "::1")}
	eth0 := device{"eth0", true, false, addresses("10.0.1.1", "fe80::1")}
	eth1 := device{"eth1", true, false, addresses("10.0.2.1")}
	six := device{"eth0", true, false, addresses("2001:db8::1", "fe80::1")}
	down := func(d device) device { d.active = false; return d }
	with := func(d device, list ...string) device { d.addresses = addresses(list...); return d }
	for name, row := range map[string]struct {
		list       []string
		begin, now []device
		wrong      string // the start
		want       string
	}{
		"well":                           {[]string{"eth0"}, []device{lo, eth0}, []device{lo, eth0}, "", ""},
		"down":                           {[]string{"eth0"}, []device{lo, eth0, eth1}, []device{lo, down(eth0), eth1}, "", deadNetwork},
		"gone":                           {[]string{"eth0"}, []device{lo, eth0, eth1}, []device{lo, eth1}, "", deadNetwork},
		"one of two":                     {[]string{"eth0", "eth1"}, []device{lo, eth0, eth1}, []device{lo, down(eth0), eth1}, "", ""},
		"both":                           {[]string{"eth0", "eth1"}, []device{lo, eth0, eth1}, []device{lo, down(eth0), down(eth1)}, "", deadNetwork},
		"any, one of two":                {[]string{"any"}, []device{lo, eth0, eth1}, []device{lo, down(eth0), eth1}, "", ""},
		"any is not the loopback":        {[]string{"any"}, []device{lo, eth0}, []device{lo, down(eth0)}, "", deadNetwork},
		"unknown at the start":           {[]string{"eth0", "eth7"}, []device{lo, eth0}, nil, `no network interface "eth7"`, ""},
		"down at the start":              {[]string{"eth0"}, []device{lo, down(eth0)}, nil, "no valid network interface is active", ""},
		"no device at all":               {[]string{"any"}, []device{lo}, nil, "no valid network interface is active", ""},
		"no address":                     {[]string{"eth0"}, []device{lo, eth0}, []device{lo, with(eth0)}, "", noAddress},
		"an address elsewhere":           {[]string{"eth0"}, []device{lo, eth0, eth1}, []device{lo, with(eth0), eth1}, "", ""},
		"only the virtual address":       {[]string{"eth0"}, []device{lo, eth0}, []device{lo, with(eth0, "10.0.1.50")}, "", noAddress},
		"IPv6 is none of a host of IPv4": {[]string{"eth0"}, []device{lo, eth0}, []device{lo, six}, "", noAddress},
		"IPv6 is one of a host of IPv6":  {[]string{"eth0"}, []device{lo, six}, []device{lo, six}, "", ""},
		"link-local addresses are not":   {[]string{"eth0"}, []device{lo, six}, []device{lo, with(six, "fe80::1")}, "", noAddress},
		"addresses on the loopback are none": {
			[]string{"eth0"},
			[]device{lo, eth0},
			[]device{with(lo, "127.0.0.1", "10.9.9.9"), with(eth0)},
			"", noAddress,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &monitor{list: row.list, delegate: netip.MustParseAddr("10.0.1.50")}
			err := m.begin(row.begin)
			if row.wrong != "" || err != nil {
				if row.wrong == "" || err == nil || !strings.Contains(err.Error(), row.wrong) {
					t.Errorf("start: %v, expected %q", err, row.wrong)
				}
				return
			}
			if got := m.trouble(row.now); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// On a host with two devices; needs root.
func TestInterfaces(t *testing.T) {
	world := hosts.StartTest(t, hosts.Options{Hosts: []hosts.Spec{{Name: "server1", Devices: []hosts.Device{
		{Name: "eth0", Network: "a", Address: netip.MustParsePrefix("10.0.1.1/24")},
		{Name: "eth1", Network: "b", Address: netip.MustParsePrefix("10.0.2.1/24")},
	}}}})
	host := world.Host("server1")
	onHost := func(k *Checks) {
		k.network = func() (n *network, err error) {
			err = host.Within(func() (err error) { n, err = openNetwork(); return err })
			if err == nil {
				n.reread = time.Hour // what is found without an event is not found here
			}
			return n, err
		}
	}
	c := Config{Method: External, Interval: 10 * time.Second, Interfaces: []string{"eth0"}}
	_, r := start(t, c, onHost)
	await(t, "started", func() bool { return strings.Contains(r.logged(), "interface monitoring is enabled in watchdog") })
	k := NewChecks(Config{Interfaces: []string{"eth0", "eth9"}}, nil, logging.Logger{})
	onHost(k)
	if err := k.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `"eth9"`) {
		t.Errorf("unknown device: %v", err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(n int, well bool, message string) {
		t.Helper()
		if f := r.finding(t, n); f != (Finding{Self: NoNetwork, Well: well, Message: message}) {
			t.Errorf("%+v", f)
		}
	}
	must(host.Unplug("eth1")) // is not monitored
	must(host.Unplug("eth0"))
	expect(1, false, deadNetwork)
	must(host.Plug("eth0"))
	expect(2, true, wellNetwork)
	change := func(do func(netlink.Link, *netlink.Addr) error, device, address string) {
		t.Helper()
		must(host.Within(func() error {
			link, err := netlink.LinkByName(device)
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			return do(link, a)
		}))
	}
	change(netlink.AddrDel, "eth1", "10.0.2.1/24")
	change(netlink.AddrDel, "eth0", "10.0.1.1/24")
	expect(3, false, noAddress)
	change(netlink.AddrAdd, "eth0", "10.0.1.7/24")
	expect(4, true, wellNetwork)
}

// Without an event it looks again after a while; a closed one wakes at once.
func TestInterfacesReread(t *testing.T) {
	n, err := openNetwork()
	if err != nil {
		t.Fatal(err)
	}
	defer n.kernel.Close()
	if devices, err := n.devices(); err != nil || len(devices) == 0 {
		t.Error(devices, err)
	}
	if !n.await() {
		t.Error("closed")
	}
	if err := n.events.Close(); err != nil {
		t.Error(err)
	}
	if n.await() {
		t.Error("not closed")
	}
}
