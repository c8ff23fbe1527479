package vip

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gopgpool/logging"
)

// jumpy is a clock that jumps at one of its readings, as it does for a process that is frozen there.
type jumpy struct {
	readings, at int
	by           time.Duration
}

func (j *jumpy) now() time.Duration {
	j.readings++
	if j.readings > j.at {
		return Boottime() + j.by
	}
	return Boottime()
}

// Wherever this process is frozen past its lease, nothing is left of the address when it goes on: neither when it is placed, nor when
// its lifetime is refreshed. The kernel's part in it, the end of the lifetime, is not even needed.
func TestFrozenAtEveryReadingOfTheClock(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	for _, cfg := range []Config{usual(), {IP: vip6, Device: "eth0", Prefix: 64}} {
		for reading := 0; ; reading++ {
			clock := &jumpy{at: reading, by: time.Minute}
			var held bool
			err := a.Within(func() error {
				x, err := New(cfg, logging.Logger{}, nil)
				if err != nil {
					return err
				}
				k, err := openKernel()
				if err != nil {
					return err
				}
				defer k.close()
				until := Boottime() + 10*time.Second
				x.Set(Desired{Hold: true, Until: until})
				h := newHolder(x, k)
				h.keeping, h.home, x.now = true, x.plan.own, clock.now
				h.tend(context.Background())
				if clock.readings > reading { // it was frozen
					h.tend(context.Background())
				}
				held = at.sees(cfg.IP)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if clock.readings <= reading { // never frozen: there is no such reading
				if !held || reading < 5 {
					t.Errorf("%s: held %v after %d readings of the clock", cfg.IP, held, clock.readings)
				}
				break
			}
			if held {
				t.Errorf("%s: frozen at reading %d of the clock, it is there with %+v", cfg.IP, reading, at.find(cfg.IP))
			}
			for _, f := range at.find(cfg.IP) {
				if err := at.k.remove(f); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// The wish may be withdrawn after it was asked for. What is there is release's then, which runs if_down_cmd on it: without the address
// that would fail.
func TestWhatIsGivenUpIsLeftToRelease(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	err := a.Within(func() error {
		x, err := New(Config{IP: vip4, UpCommand: "/var/script up", DownCommand: "/var/script down", ArpingCommand: "true"}, logging.Logger{}, nil)
		if err != nil {
			return err
		}
		k, err := openKernel()
		if err != nil {
			return err
		}
		defer k.close()
		h := newHolder(x, k)
		h.keeping = true
		x.Set(Desired{Hold: true, Until: Boottime() + longest})
		if err := k.create(place{device: "eth0", prefix: netip.PrefixFrom(vip4, 24)}, 600); err != nil {
			return err
		}
		h.tend(t.Context())
		x.Set(Desired{})
		h.tend(t.Context())
		if len(h.at) != 1 || !at.sees(vip4) {
			t.Errorf("it has %+v, and the address is there: %v", h.at, at.sees(vip4))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLinkThatWasDown(t *testing.T) {
	t.Parallel()
	for _, cfg := range []Config{usual(), {IP: vip6, Device: "eth0", Prefix: 64}} {
		t.Run(cfg.IP.String(), func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			at, ears := look(t, a), sniff(t, b, cfg.IP)
			x := runOn(t, a, cfg)
			defer renew(x, steady)()
			eventually(t, "held", longest, func() bool { return at.sees(cfg.IP) })
			ears.claimant(t)
			ip := func(command string) {
				if out, err := a.Run(t.Context(), "root", "/sbin/ip "+command); err != nil {
					t.Fatal(err, out)
				}
			}
			ip("link set eth0 down")
			for len(ears.seen) > 0 {
				<-ears.seen
			}
			ip("link set eth0 up")
			eventually(t, "back", longest, func() bool { return at.sees(cfg.IP) && x.Current().Held })
			ears.claimant(t)
		})
	}
}

// Somebody who removes the address as often as it comes back keeps neither us nor the log busy.
func TestQuarrelAboutTheAddressIsSlow(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	x := runOn(t, a, usual())
	defer renew(x, steady)()
	start := Boottime()
	for range 4 {
		eventually(t, "there", longest, func() bool { return at.sees(vip4) })
		for _, f := range at.find(vip4) {
			if err := at.k.remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	if took := Boottime() - start; took < 2*putAgain {
		t.Errorf("placed four times within %v", took)
	}
	n := strings.Count(x.log.String(), "was gone")
	if took := Boottime() - start; n > 1+int(took/time.Second) {
		t.Errorf("told %d times within %v", n, took)
	}
}

// Without delegate_ip only the commands are run.
func TestOnlyCommands(t *testing.T) {
	t.Parallel()
	log := &book{}
	command := func(s string) func() string { return func() string { return s } }
	a, err := New(Config{
		EscalationCommand: command("echo up >&2"), DeEscalationCommand: command("echo down >&2; exit 4"),
	}, logging.To(log, logging.Debug1), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.Set(Desired{Hold: true, Until: Boottime() + time.Minute})
	eventually(t, "escalated", longest, func() bool { return strings.Contains(log.String(), "exit with SUCCESS") })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	got := log.String()
	for _, line := range []string{
		"up\nLOG:  wd_escalation_command returned with success\n", "down\nWARNING:  wd_de_escalation_command failed\nDETAIL:  exit status 4\n",
	} {
		if strings.Count(got, line) != 1 {
			t.Errorf("want %q in\n%s", line, got)
		}
	}
	if strings.Contains(got, "delegate IP") || a.Current() != (State{}) {
		t.Errorf("state %+v, log\n%s", a.Current(), got)
	}
	if _, _, err := a.Probe(t.Context()); err == nil {
		t.Error("probed for nothing")
	}
}

func TestWhenNeighboursAreTold(t *testing.T) {
	t.Parallel()
	a, err := newAddress(usual(), rights{admin: true, root: true}, logging.Logger{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	there, cut := []finding{{device: "eth0", running: true}}, []finding{{device: "eth0"}}
	for _, test := range []struct {
		name   string
		before []finding
		placed bool
		now    []finding
		told   bool
	}{
		{"it was there", there, false, there, false},
		{"it has appeared", nil, false, there, true},
		{"it was put back", there, true, there, true},
		{"the device is cut off", there, false, cut, false},
		{"the device is back", cut, false, there, true},
		{"it is gone", there, false, nil, false},
	} {
		h := newHolder(a, nil)
		h.told, h.at, h.placed, h.running = true, test.before, test.placed, len(test.before) > 0 && test.before[0].running
		h.noticed(t.Context(), test.now)
		if got := len(h.due) > 0; got != test.told {
			t.Errorf("%s: told %v", test.name, got)
		}
	}
}
