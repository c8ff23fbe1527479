package vip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/logging"
)

var (
	vip4 = netip.MustParseAddr("10.1.0.50")
	vip6 = netip.MustParseAddr("fd00:1::50")
)

// pair is two hosts on one network.
func pair(t *testing.T, shares ...hosts.Share) (a, b *hosts.Host) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := hosts.StartTest(t, hosts.Options{
		Hosts: []hosts.Spec{
			{Name: "a", Devices: []hosts.Device{{Address: netip.MustParsePrefix("10.1.0.1/24")}}},
			{Name: "b", Devices: []hosts.Device{{Address: netip.MustParsePrefix("10.1.0.2/24")}}},
		},
		Shares: append(shares, hosts.Share{Source: program, Target: testProgram}), Users: []string{"postgres"},
	})
	return w.Host("a"), w.Host("b")
}

// eye looks at a host's addresses. It is used by one goroutine.
type eye struct {
	t *testing.T
	k *kernel
}

func look(t *testing.T, h *hosts.Host) *eye {
	t.Helper()
	e := &eye{t: t}
	err := h.Within(func() (err error) {
		e.k, err = openKernel()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.k.close)
	return e
}

func (e *eye) find(ip netip.Addr) []finding {
	e.t.Helper()
	found, err := e.k.find(ip)
	if err != nil {
		e.t.Fatal(err)
	}
	return found
}

func (e *eye) sees(ip netip.Addr) bool { return len(e.find(ip)) > 0 }

// loses waits until the address is gone. It must not be seen after a moment; when it was seen last is returned.
func (e *eye) loses(ip netip.Addr, until time.Duration) (last time.Duration) {
	e.t.Helper()
	eventually(e.t, "gone", longest, func() bool {
		now := Boottime()
		if !e.sees(ip) {
			return true
		}
		last = now
		return false
	})
	if last > until {
		e.t.Errorf("the address was there %v after its lease", last-until)
	}
	return last
}

// sniffer collects who claims an address on a host's device.
type sniffer struct {
	wire *os.File
	seen chan net.HardwareAddr
	done chan struct{}
}

func sniff(t *testing.T, h *hosts.Host, ip netip.Addr) *sniffer {
	t.Helper()
	s := &sniffer{seen: make(chan net.HardwareAddr, 100), done: make(chan struct{})}
	err := h.Within(func() error {
		i, err := net.InterfaceByName("eth0")
		if err == nil {
			s.wire, err = openWire(device{index: i.Index, name: i.Name, hardware: i.HardwareAddr}, ip)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go s.run(ip)
	t.Cleanup(func() {
		_ = s.wire.Close() // only read
		<-s.done
	})
	return s
}

func (s *sniffer) run(ip netip.Addr) {
	defer close(s.done)
	buf := make([]byte, 2048)
	for {
		n, err := s.wire.Read(buf)
		if err != nil {
			return
		}
		if by, ok := claims(buf[:n], ip); ok {
			select {
			case s.seen <- slices.Clone(by):
			default:
			}
		}
	}
}

// claimant waits for the next claim.
func (s *sniffer) claimant(t *testing.T) net.HardwareAddr {
	t.Helper()
	select {
	case by := <-s.seen:
		return by
	case <-time.After(longest):
		t.Fatal("nobody announces the address")
		return nil
	}
}

func hardware(t *testing.T, h *hosts.Host) net.HardwareAddr {
	t.Helper()
	var i *net.Interface
	err := h.Within(func() (err error) {
		i, err = net.InterfaceByName("eth0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return i.HardwareAddr
}

func probeFrom(t *testing.T, h *hosts.Host, cfg Config) (answered bool, by string) {
	t.Helper()
	err := h.Within(func() error {
		a, err := New(cfg, logging.Logger{}, nil)
		if err == nil {
			answered, by, err = a.Probe(t.Context())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return answered, by
}

// tenant is an Address that runs in this process, on a host. It has no commands: those would not be on the host.
type tenant struct {
	*Address
	t    *testing.T
	log  *book
	stop context.CancelFunc
	done chan error
}

func runOn(t *testing.T, h *hosts.Host, cfg Config) *tenant {
	t.Helper()
	x := &tenant{t: t, log: &book{}, done: make(chan error, 1)}
	a, err := New(cfg, logging.To(x.log, logging.Debug1), nil)
	if err != nil {
		t.Fatal(err)
	}
	x.Address = a
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	x.stop = stop
	go func() { x.done <- h.Within(func() error { return a.Run(ctx) }) }()
	t.Cleanup(func() {
		x.end()
		if t.Failed() {
			t.Logf("log of the address on %s:\n%s", h.Name, x.log)
		}
	})
	return x
}

// end ends Run and waits for it. A second call does nothing.
func (x *tenant) end() {
	x.t.Helper()
	if x.stop == nil {
		return
	}
	x.stop()
	if err := <-x.done; err != nil {
		x.t.Error(err)
	}
	x.stop = nil
}

func (x *tenant) hold(lease time.Duration) time.Duration {
	until := Boottime() + lease
	x.Set(Desired{Hold: true, Until: until})
	return until
}

func TestAddressComesAnnouncedAndGoes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		cfg  Config
		want place
	}{
		{"IPv4", Config{
			IP: vip4, UpCommand: "/usr/bin/sudo /sbin/ip addr add $_IP_$/24 dev eth0 label eth0:0",
			DownCommand: "/usr/bin/sudo /sbin/ip addr del $_IP_$/24 dev eth0",
		}, place{device: "eth0", prefix: netip.PrefixFrom(vip4, 24), label: "eth0:0"}},
		{"IPv6", Config{IP: vip6, Device: "eth0", Prefix: 64}, place{device: "eth0", prefix: netip.PrefixFrom(vip6, 64)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			at, mac := look(t, a), hardware(t, a).String()
			if answered, by := probeFrom(t, b, test.cfg); answered {
				t.Fatalf("%s answers for an address that nobody has", by)
			}
			x, ears := runOn(t, a, test.cfg), sniff(t, b, test.cfg.IP)
			x.hold(2 * longest)
			if by := ears.claimant(t); by.String() != mac {
				t.Errorf("announced by %s, not %s", by, mac)
			}
			eventually(t, "held", longest, func() bool { s := x.Current(); return s.Held && s.Leased && s.Device == "eth0" })
			found := at.find(test.cfg.IP)
			if len(found) != 1 || found[0].place() != test.want || found[0].permanent {
				t.Errorf("found %+v, want %+v with a lifetime", found, test.want)
			}
			if answered, by := probeFrom(t, b, test.cfg); !answered || by != mac {
				t.Errorf("probe: %v %q, want %s", answered, by, mac)
			}
			if answered, by := probeFrom(t, a, test.cfg); answered {
				t.Errorf("%s answers, but own addresses do not count", by)
			}
			x.Set(Desired{Until: Boottime() + steady, Graceful: true})
			eventually(t, "gone", longest, func() bool { return !at.sees(test.cfg.IP) && !x.Current().Held })
			for _, line := range []string{
				"LOG:  watchdog: escalation started", "LOG:  successfully acquired the delegate IP:\"" + test.cfg.IP.String() + "\"",
				"LOG:  watchdog: de-escalation started", "LOG:  successfully released the delegate IP:\"" + test.cfg.IP.String() + "\"",
			} {
				eventually(t, line, longest, func() bool { return strings.Contains(x.log.String(), line) })
			}
		})
	}
}

func TestRefreshCannotCreate(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	for _, ip := range []netip.Addr{vip4, vip6} {
		p := place{device: "eth0", prefix: netip.PrefixFrom(ip, 24)}
		if err := at.k.create(p, 60); err != nil {
			t.Fatal(err)
		}
		f := at.find(ip)[0]
		if err := at.k.refresh(f, 100); err != nil {
			t.Errorf("refresh of %s: %v", ip, err)
		}
		if err := at.k.remove(f); err != nil {
			t.Fatal(err)
		}
		if err := at.k.refresh(f, 100); !errors.Is(err, errMissing) || at.sees(ip) {
			t.Errorf("refresh of %s, which is gone: %v", ip, err)
		}
		if err := at.k.remove(f); err != nil {
			t.Errorf("removing what is gone: %v", err)
		}
	}
}
