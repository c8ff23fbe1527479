package vip

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
)

func usual() Config {
	return Config{IP: vip4, UpCommand: "ip addr add $_IP_$/24 dev eth0", DownCommand: "ip addr del $_IP_$/24 dev eth0", CommandPath: "/sbin"}
}

// renew holds the address as the watchdog does, until the returned function is called.
func renew(x interface {
	hold(time.Duration) time.Duration
}, lease time.Duration,
) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(lease / 10)
		defer tick.Stop()
		for {
			x.hold(lease)
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

func TestRemovedAddressComesBack(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	at, ears := look(t, a), sniff(t, b, vip4)
	x := runOn(t, a, usual())
	defer renew(x, steady)()
	eventually(t, "held", longest, func() bool { return x.Current().Held })
	ears.claimant(t)
	if err := at.k.remove(at.find(vip4)[0]); err != nil {
		t.Fatal(err)
	}
	for len(ears.seen) > 0 {
		<-ears.seen
	}
	eventually(t, "back", longest, func() bool { return at.sees(vip4) })
	ears.claimant(t)
	eventually(t, "told", longest, func() bool {
		return strings.Contains(x.log.String(), `WARNING:  delegate IP "10.1.0.50" was gone from "eth0", bringing it up again`)
	})
	if n := strings.Count(x.log.String(), "successfully acquired"); n != 1 {
		t.Errorf("acquired %d times:\n%s", n, x.log)
	}
}

func TestLeaseEndsWithoutAWord(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	x := runOn(t, a, usual())
	var until time.Duration
	eventually(t, "held", longest, func() bool {
		if Boottime() > until { // it has not begun, or was too slow
			until = x.hold(3500 * time.Millisecond)
		}
		return at.sees(vip4)
	})
	at.loses(vip4, until)
	eventually(t, "not held", longest, func() bool { return strings.Contains(x.log.String(), "successfully released") })
	x.hold(1500 * time.Millisecond) // too short for a lifetime of a second
	for limit := Boottime() + 300*time.Millisecond; Boottime() < limit; {
		if at.sees(vip4) {
			t.Fatal("an address under a lease that is too short for a lifetime")
		}
	}
	x.hold(2 * longest)
	eventually(t, "held again", longest, func() bool { return x.Current().Held && at.sees(vip4) })
}

func TestLeftOverIsRemovedAtTheStart(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	if out, err := a.Run(t.Context(), "root", "/sbin/ip addr add 10.1.0.50/32 dev eth0"); err != nil {
		t.Fatal(err, out)
	}
	x := runOn(t, a, usual())
	eventually(t, "gone", longest, func() bool { return !at.sees(vip4) })
	eventually(t, "told", longest, func() bool {
		return strings.Contains(x.log.String(), `WARNING:  removed the delegate IP "10.1.0.50" from "eth0"`)
	})
}

func TestAddressOnAnotherDeviceIsRemoved(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	x := runOn(t, a, usual())
	add := func() {
		t.Helper()
		if out, err := a.Run(t.Context(), "root", "/sbin/ip addr add 10.1.0.50/32 dev lo"); err != nil {
			t.Fatal(err, out)
		}
	}
	eventually(t, "ready", longest, func() bool { x.hold(0); return len(x.wake) == 0 })
	add()
	eventually(t, "told", longest, func() bool {
		return strings.Contains(x.log.String(), `WARNING:  delegate IP "10.1.0.50" is on "lo", but this node does not hold it`)
	})
	x.hold(4 * longest)
	only := func() bool { f := at.find(vip4); return len(f) == 1 && f[0].device == "eth0" }
	eventually(t, "on eth0 alone", longest, only)
	add()
	eventually(t, "on eth0 alone again", longest, only)
}

func TestMissingDeviceIsToldOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	cfg := usual()
	cfg.UpCommand = "ip addr add $_IP_$/24 dev later"
	x := runOn(t, a, cfg)
	defer renew(x, steady)()
	eventually(t, "failure", longest, func() bool { return strings.Contains(x.Current().Err, "later") && !x.Current().Held })
	if out, err := a.Run(t.Context(), "root", "/sbin/ip link add later type veth peer name other && /sbin/ip link set later up"); err != nil {
		t.Fatal(err, out)
	}
	eventually(t, "held", longest, func() bool { return x.Current().Held && at.sees(vip4) && x.Current().Err == "" })
	log := x.log.String()
	for _, line := range []string{
		"LOG:  failed to acquire the delegate IP address", "WARNING:  watchdog escalation failed to acquire delegate IP",
	} {
		if strings.Count(log, line) != 1 {
			t.Errorf("not once: %s\n%s", line, log)
		}
	}
}

func TestRunTakesTheAddressWithIt(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	x := runOn(t, a, usual())
	x.hold(2 * longest)
	eventually(t, "held", longest, func() bool { return at.sees(vip4) })
	x.end()
	if at.sees(vip4) || x.Current().Held {
		t.Errorf("the address is there after Run; state %+v", x.Current())
	}
}

// "So that SIGKILL ... cannot leave two holders, also where if_up_cmd raised it."
func TestKilledHolderLosesTheAddress(t *testing.T) {
	t.Parallel()
	script := Config{IP: vip4, UpCommand: "/var/script up $_IP_$", DownCommand: "/var/script down $_IP_$", ArpingCommand: "true"}
	for name, cfg := range map[string]Config{"netlink": usual(), "script": script} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := pair(t)
			writeScript(t, a)
			at := look(t, a)
			p := startHolder(t, a, settings{Config: cfg})
			stop := renew(p, 4*time.Second)
			eventually(t, "held", longest, func() bool { return p.current().Held && p.current().Leased && at.sees(vip4) })
			stop()
			until := p.hold(4 * time.Second)
			p.kill()
			if !at.sees(vip4) {
				t.Error("the address was gone before its lifetime")
			}
			at.loses(vip4, until)
		})
	}
}

// A frozen process that thaws after its lease has ended does not bring the address back.
func TestFrozenHolderDoesNotRaiseTheAddress(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	p := startHolder(t, a, settings{Config: usual()})
	stop := renew(p, 3*time.Second)
	eventually(t, "held", longest, func() bool { return at.sees(vip4) })
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until := p.hold(3 * time.Second)
	stop()
	at.loses(vip4, until)
	eventually(t, "lease over", longest, func() bool { return Boottime() > until })
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for limit := Boottime() + 300*time.Millisecond; Boottime() < limit; {
		if at.sees(vip4) {
			t.Error("the address came back after its lease")
		}
	}
}

// script records its calls, and adds the address with no lifetime, as scripts do. What lies in /var/slow makes it dawdle.
const script = `#!/bin/sh
echo "$*" >>/var/calls
case $1 in
up) /sbin/ip addr add $2/24 dev eth0 label eth0:v; [ ! -e /var/slow ] || sleep 20 ;;
down) /sbin/ip addr del $2/24 dev eth0 ;;
elsewhere) ;;
fail) echo "no way" >&2; exit 3 ;;
hang) sleep 600 ;;
esac
`

func writeScript(t *testing.T, h *hosts.Host) {
	t.Helper()
	if err := h.WriteFile("root", "/var/script", script, 0o755); err != nil {
		t.Fatal(err)
	}
}

func calls(t *testing.T, h *hosts.Host) string {
	t.Helper()
	data, err := h.ReadFile("/var/calls")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", ", ")
}

// "Expect on becoming leader `up <VIP>` then the arping command; on leaving `down <VIP>`; each exactly once per transition."
func TestCommandsRunOncePerTransition(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	writeScript(t, a)
	at := look(t, a)
	p := startHolder(t, a, settings{
		Config: Config{
			IP: vip4, UpCommand: "/var/script up $_IP_$", DownCommand: "/var/script down $_IP_$", ArpingCommand: "/var/script arping $_IP_$ -I eth0",
		},
		Escalation: `/var/script "esca  lation"`, DeEscalation: `/var/script "de-esca  lation"`,
	})
	stop := renew(p, steady)
	eventually(t, "held", longest, func() bool { return p.current().Held && !p.current().Busy })
	if f := at.find(vip4); len(f) != 1 || f[0].permanent || f[0].label != "eth0:v" {
		t.Errorf("found %+v", f)
	}
	if err := at.k.remove(at.find(vip4)[0]); err != nil { // it is placed again, without another call
		t.Fatal(err)
	}
	eventually(t, "back", longest, func() bool { f := at.find(vip4); return len(f) == 1 && f[0].label == "eth0:v" })
	want := "esca  lation, up 10.1.0.50, arping 10.1.0.50 -I eth0"
	eventually(t, want, longest, func() bool { return calls(t, a) == want })
	stop()
	p.set(Desired{Until: Boottime() + steady, Graceful: true})
	eventually(t, "released", longest, func() bool { return !p.current().Held && !p.current().Busy && !at.sees(vip4) })
	if got := calls(t, a); got != want+", de-esca  lation, down 10.1.0.50" {
		t.Errorf("calls: %s", got)
	}
	wantLog(t, p, "successfully acquired the delegate IP:\"10.1.0.50\"", "DETAIL:  'if_up_cmd' returned with success",
		"watchdog escalation process with pid: ", "successfully released the delegate IP:\"10.1.0.50\"")
}

// wantLog waits for lines, each of which is to be there once.
func wantLog(t *testing.T, p *process, lines ...string) {
	t.Helper()
	for _, line := range lines {
		eventually(t, "once in the log: "+line, longest, func() bool { return strings.Count(p.log.String(), line) == 1 })
	}
}

func TestCommandsThatFail(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	writeScript(t, a)
	up := func(command string, timeout time.Duration) settings {
		return settings{Config: Config{
			IP: vip4, UpCommand: command, DownCommand: "/var/script down $_IP_$", ArpingCommand: "true",
			CommandTimeout: timeout,
		}}
	}
	for _, test := range []struct {
		name, command string
		timeout       time.Duration
		log           string
	}{
		{"exit status", "/var/script fail", longest, `DETAIL:  'if_up_cmd' failed: exit status 3`},
		{"missing program", "/var/nosuchscript up", longest, `DETAIL:  'if_up_cmd' failed: exec /var/nosuchscript: no such file or directory`},
		{"timeout", "/var/script hang", 2 * time.Second, `DETAIL:  'if_up_cmd' failed: it took longer than wd_command_timeout: signal: killed`},
	} {
		p := startHolder(t, a, up(test.command, test.timeout))
		p.hold(3 * longest)
		eventually(t, test.name, longest, func() bool { return p.current().Err != "" && !p.current().Held })
		eventually(t, test.name, longest, func() bool {
			log := p.log.String()
			return strings.Contains(log, "LOG:  failed to acquire the delegate IP address\n"+test.log) &&
				strings.Contains(log, "WARNING:  watchdog escalation failed to acquire delegate IP\n"+test.log)
		})
		p.stop()
	}
	if got, want := calls(t, a), "fail, down 10.1.0.50, down 10.1.0.50, hang, down 10.1.0.50"; got != want {
		t.Errorf("calls: %s\nwant:  %s", got, want)
	}
}

// An address that a command brings up elsewhere is held as long as that is not undone.
func TestAddressElsewhere(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	writeScript(t, a)
	p := startHolder(t, a, settings{Config: Config{
		IP: vip4, UpCommand: "/var/script elsewhere $_IP_$", DownCommand: "/var/script elsewhere $_IP_$", ArpingCommand: "true", PingPath: "/var",
	}})
	stop := renew(p, steady)
	eventually(t, "held", longest, func() bool { s := p.current(); return s.Held && !s.Leased && s.Device == "" && !s.Busy })
	stop()
	p.set(Desired{})
	eventually(t, "released", longest, func() bool { return !p.current().Held && !p.current().Busy })
	wantLog(t, p, "delegate IP \"10.1.0.50\" is on no device of this host", "successfully acquired", "successfully released")
	if got := calls(t, a); got != "elsewhere 10.1.0.50, elsewhere 10.1.0.50" {
		t.Errorf("calls: %s", got)
	}
}

// The lifetime is on the address before a slow command has ended; and a command that is not wanted any more does not go on.
func TestSlowCommandLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"killed", "not wanted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			a, _ := pair(t)
			writeScript(t, a)
			if err := a.WriteFile("root", "/var/slow", "", 0o644); err != nil {
				t.Fatal(err)
			}
			at := look(t, a)
			p := startHolder(t, a, settings{Config: Config{
				IP: vip4, UpCommand: "/var/script up $_IP_$", DownCommand: "/var/script down $_IP_$", ArpingCommand: "true",
			}})
			stop := renew(p, 6*time.Second)
			eventually(t, "leased", longest, func() bool { f := at.find(vip4); return len(f) == 1 && !f[0].permanent && p.current().Busy })
			stop()
			until := p.hold(6 * time.Second)
			if how == "killed" {
				p.kill()
			} else {
				p.set(Desired{})
			}
			at.loses(vip4, until)
			if how == "not wanted" {
				wantLog(t, p, "LOG:  if_down_cmd returned with success")
				if got := calls(t, a); got != "up 10.1.0.50, down 10.1.0.50" {
					t.Errorf("calls: %s", got)
				}
			}
		})
	}
}

// A command of the opposite direction waits five seconds for one that hangs; the address does not wait.
func TestHangingCommandsDelayNoRelease(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	p := startHolder(t, a, settings{Config: usual(), DeEscalation: "echo begun >>/var/calls; sleep 600; echo over >>/var/calls"})
	p.hold(2 * longest)
	eventually(t, "held", longest, func() bool { return at.sees(vip4) })
	p.set(Desired{})
	eventually(t, "gone", longest, func() bool { return !at.sees(vip4) && !p.current().Held && p.current().Busy })
	for try := 1; ; try++ {
		p.hold(2 * longest)
		eventually(t, "held", longest, func() bool { return at.sees(vip4) })
		until := Boottime() + 1200*time.Millisecond
		p.set(Desired{Until: until, Graceful: true})
		// What ends it is this program here, not the kernel: the lifetime is of the longer lease before. So it may be late if the
		// machine is busy, and so may we be who look; but not each time.
		early := until - at.loses(vip4, until+longest)
		if early >= -300*time.Millisecond && early <= 500*time.Millisecond {
			break
		}
		if try == 5 {
			t.Fatalf("released %v before the end of the lease, not shortly before", early)
		}
	}
	start := Boottime()
	p.stop()
	if took := Boottime() - start; took > longest/2 { // the command goes on for ten minutes
		t.Errorf("the end took %v", took)
	}
	for call := range strings.SplitSeq(calls(t, a), ", ") {
		if call != "begun" {
			t.Errorf("call: %q", call)
		}
	}
}

// pinger answers as ping does.
const stubPing = "#!/bin/sh\necho \"$*\" >>/var/calls\n%s\n"

func TestPingCheck(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	for _, test := range []struct{ does, calls, log string }{
		{"echo 'rtt min/avg/max/mdev = 0.018/0.020/0.022/0.002 ms'", "-q -c3 10.1.0.50", "LOG:  the delegate IP 10.1.0.50 answers ping"},
		{"exit 1", strings.Repeat("-q -c3 10.1.0.50, ", 2) + "-q -c3 10.1.0.50", "WARNING:  the delegate IP 10.1.0.50 does not answer ping"},
	} {
		if err := a.WriteFile("root", "/var/ping/ping", fmt.Sprintf(stubPing, test.does), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := a.WriteFile("root", "/var/calls", "", 0o644); err != nil {
			t.Fatal(err)
		}
		cfg := usual()
		cfg.PingPath = "/var/ping"
		p := startHolder(t, a, settings{Config: cfg})
		p.hold(3 * longest)
		wantLog(t, p, test.log)
		if got := calls(t, a); got != test.calls {
			t.Errorf("calls: %s", got)
		}
		eventually(t, "held", longest, func() bool { return p.current().Held })
		p.stop()
	}
}

// Without the right to change addresses the commands are run as they are, and that is said.
func TestWithoutTheRight(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	at := look(t, a)
	cfg := usual()
	cfg.UpCommand, cfg.DownCommand = "sudo "+cfg.UpCommand, "sudo "+cfg.DownCommand
	cfg.ArpingCommand = "true"
	p := startHolderAs(t, a, "postgres", settings{Config: cfg})
	p.hold(4 * longest)
	eventually(t, "held", longest, func() bool { return at.sees(vip4) && p.current().Held && !p.current().Leased })
	if f := at.find(vip4); len(f) != 1 || !f[0].permanent {
		t.Errorf("found %+v", f)
	}
	wantLog(t, p, "successfully acquired")
	p.set(Desired{})
	eventually(t, "gone", longest, func() bool { return !at.sees(vip4) && !p.current().Held })
	wantLog(t, p, "WARNING:  no lease is enforced on the delegate IP \"10.1.0.50\"", "successfully released")
	p.hold(4 * longest)
	eventually(t, "held", longest, func() bool { return at.sees(vip4) && p.current().Held })
	p.kill()
	if !at.sees(vip4) {
		t.Fatal("this should be what nothing prevents here")
	}
	again := startHolderAs(t, a, "postgres", settings{Config: cfg})
	eventually(t, "gone", longest, func() bool { return !at.sees(vip4) })
	again.stop()
}
