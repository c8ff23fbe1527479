package vip

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/logging"
)

func TestLifetimeEndsBeforeTheLease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		left time.Duration
		want int
	}{
		{-time.Hour, 0},
		{0, 0},
		{time.Second, 0},
		{1719 * time.Millisecond, 0},
		{1720 * time.Millisecond, 1},
		{2719 * time.Millisecond, 1},
		{2720 * time.Millisecond, 2},
		{9 * time.Second, 8},
		{time.Hour * 24 * 365 * 100, 1<<31 - 1},
	} {
		now := 5 * time.Minute
		got := lifetime(now, now+test.left)
		if got != test.want {
			t.Errorf("%v left: %d s, want %d s", test.left, got, test.want)
		}
		if got > 0 && outlives(now, now+test.left, got) {
			t.Errorf("%v left: %d s outlives the lease", test.left, got)
		}
		if !outlives(now, now+test.left, got+2) && test.left < time.Hour {
			t.Errorf("%v left: %d s are said not to outlive the lease", test.left, got+2)
		}
	}
}

// What the kernel says is left of a lifetime that we set never looks too long, at any moment.
func TestOwnLifetimeNeverLooksTooLong(t *testing.T) {
	t.Parallel()
	for left := 1720 * time.Millisecond; left < 6*time.Second; left += 10 * time.Millisecond {
		seconds := lifetime(0, left)
		for now := time.Duration(0); now < left; now += 10 * time.Millisecond {
			f := finding{seconds: seconds - int(now/time.Second)}
			if f.outlasts(now, left) {
				t.Fatalf("lease of %v, lifetime of %d s: after %v the rest of %d s looks too long", left, seconds, now, f.seconds)
			}
		}
	}
	if !(finding{permanent: true}).outlasts(0, time.Hour) || !(finding{seconds: 3600}).outlasts(0, 10*time.Second) {
		t.Error("a long lifetime does not look too long")
	}
}

func TestParseAdd(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr("192.168.1.5")
	p24, p32 := netip.PrefixFrom(ip, 24), netip.PrefixFrom(ip, 32)
	for _, test := range []struct {
		command string
		want    place // the zero place: a command like any other
	}{
		{"/usr/bin/sudo /sbin/ip addr add $_IP_$/24 dev eth0 label eth0:0", place{device: "eth0", prefix: p24, label: "eth0:0"}},
		{"ip addr add $_IP_$/24 dev eth0 label eth0:0", place{device: "eth0", prefix: p24, label: "eth0:0"}},
		{"  /usr/sbin/ip   a  add $_IP_$ dev enp0s8 ", place{device: "enp0s8", prefix: p32}},
		{"sudo -n ip -4 address replace 192.168.1.5/24 label x dev eth0", place{device: "eth0", prefix: p24, label: "x"}},
		{"ip addr add $_IP_$/24 brd + dev eth0", place{device: "eth0", prefix: p24, broadcast: true}},
		{"ip addr add $_IP_$/24 dev eth0 scope link", place{}},
		{"ip addr add $_IP_$/24 dev", place{}},
		{"ip addr add $_IP_$/24", place{}},
		{"ip addr add $_IP_$/33 dev eth0", place{}},
		{"ip addr add 192.168.1.6/24 dev eth0", place{}},
		{"ip addr del $_IP_$/24 dev eth0", place{}},
		{"ip addr", place{}},
		{"ip", place{}},
		{"sudo", place{}},
		{"", place{}},
		{"/opt/stub/ip addr add $_IP_$/24 dev eth0", place{}},
		{"/opt/stub/sudo /sbin/ip addr add $_IP_$/24 dev eth0", place{}},
		{"/usr/bin/sudo -u root /sbin/ip addr add $_IP_$/24 dev eth0", place{}},
		{"/etc/pgpool-II/aws_eip_if_cmd.sh up $_IP_$ /usr/local/bin/aws", place{}},
		{"ifconfig eth0:0 inet $_IP_$ netmask 255.255.255.0", place{}},
	} {
		argv, err := words(test.command, ip)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := parseAdd(argv, "/sbin", ip)
		if ok != (test.want != place{}) || ok && got != test.want {
			t.Errorf("%q: %+v %v, want %+v", test.command, got, ok, test.want)
		}
	}
	argv, _ := words("ip addr add $_IP_$/24 dev eth0", ip)
	if _, ok := parseAdd(argv, "/opt/recorder", ip); ok {
		t.Error("a stand-in for ip in if_cmd_path was not respected")
	}
	ip6 := netip.MustParseAddr("fd00::5")
	argv, _ = words("ip -6 addr add $_IP_$/64 dev eth0 label eth0:0", ip6)
	if got, ok := parseAdd(argv, "/sbin", ip6); !ok || got != (place{device: "eth0", prefix: netip.PrefixFrom(ip6, 64)}) {
		t.Errorf("IPv6: %+v %v", got, ok)
	}
}

func TestUsualCommandsAreRecognised(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr("192.168.1.5")
	for _, test := range []struct {
		command          string
		deletes, arpings bool
	}{
		{"/usr/bin/sudo /sbin/ip addr del $_IP_$/24 dev eth0", true, false},
		{"ip a del $_IP_$ dev eth0", true, false},
		{"ip addr del $_IP_$/24 dev eth0 label x", false, false},
		{"ip addr del 1.2.3.4/24 dev eth0", false, false},
		{"/etc/down.sh $_IP_$", false, false},
		{"/usr/bin/sudo /usr/sbin/arping -U $_IP_$ -w 1 -I eth0", false, true},
		{"arping -U $_IP_$ -w 1", false, true},
		{"/usr/bin/arping -A -c 3 -I eth0 $_IP_$", false, true},
		{"arping $_IP_$", false, false},
		{"arping -U 1.2.3.4 -w 1", false, false},
		{"arping -U $_IP_$ -f", false, false},
		{"/etc/arping.sh -U $_IP_$ -w 1", false, false},
		{"true", false, false},
		{"", false, false},
	} {
		argv, err := words(test.command, ip)
		if err != nil {
			t.Fatal(err)
		}
		if got := isDelete(argv, "/sbin", ip); got != test.deletes {
			t.Errorf("isDelete(%q) = %v", test.command, got)
		}
		if got := isArping(argv, "/usr/sbin", ip); got != test.arpings {
			t.Errorf("isArping(%q) = %v", test.command, got)
		}
	}
}

// "The command is split on blanks, every $_IP_$ is replaced, no shell."
func TestWords(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr("10.0.0.1")
	got, err := words("  /x/y 'a  b' $_IP_$:$_IP_$\t$HOME;ls ", ip)
	if want := []string{"/x/y", "'a", "b'", "10.0.0.1:10.0.0.1", "$HOME;ls"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v, want %q", got, err, want)
	}
	if _, err := words(strings.Repeat("x ", 23), ip); err != nil {
		t.Error(err)
	}
	if _, err := words(strings.Repeat("x ", 24), ip); err == nil {
		t.Error("24 words were taken")
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	const (
		add = "/usr/bin/sudo /sbin/ip addr add $_IP_$/24 dev eth0"
		del = "/usr/bin/sudo /sbin/ip addr del $_IP_$/24 dev eth0"
		arp = "/usr/bin/sudo /usr/sbin/arping -U $_IP_$ -w 1 -I eth0"
	)
	admin, nobody := rights{admin: true, root: true}, rights{}
	for _, test := range []struct {
		name                  string
		cfg                   Config
		may                   rights
		own, up, down, arping bool
		err                   string
	}{
		{"the usual commands", Config{UpCommand: add, DownCommand: del, ArpingCommand: arp}, admin, true, false, false, false, ""},
		{"without the right", Config{UpCommand: add, DownCommand: del, ArpingCommand: arp}, nobody, false, true, true, true, ""},
		{"scripts", Config{UpCommand: "/x up", DownCommand: "/x down", ArpingCommand: "true"}, admin, false, true, true, true, ""},
		{"own way down", Config{UpCommand: add, DownCommand: "/x down", ArpingCommand: arp}, admin, true, false, true, false, ""},
		{"own way up", Config{UpCommand: "/x up", DownCommand: del, ArpingCommand: arp}, admin, false, true, true, false, ""},
		{"no commands", Config{Device: "eth0", Prefix: 24}, admin, true, false, false, false, ""},
		{"no commands, no device", Config{}, admin, false, false, false, false, "neither if_up_cmd nor delegate_device"},
		{"device without the right", Config{Device: "eth0"}, nobody, false, false, false, false, "CAP_NET_ADMIN"},
		{"bad prefix", Config{Device: "eth0", Prefix: 64}, admin, false, false, false, false, "delegate_prefix = 64"},
		{"long", Config{UpCommand: strings.Repeat("x ", 30)}, admin, false, false, false, false, "more than 23 words"},
	} {
		test.cfg.IP = netip.MustParseAddr("10.0.0.5")
		test.cfg.CommandPath, test.cfg.ArpingPath = "/sbin", "/usr/sbin"
		p, err := makePlan(test.cfg, test.may)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: error %v, want %q", test.name, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if p.leased != test.may.admin || (p.own != nil) != test.own || len(p.up) > 0 != test.up ||
			len(p.down) > 0 != test.down || len(p.arping) > 0 != test.arping {
			t.Errorf("%s: %+v", test.name, p)
		}
	}
}

func TestChecksAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, test := range []struct {
		name, up, arping, path string
		may                    rights
		err, log               string
	}{
		{"nothing is run", "ip addr add $_IP_$/24 dev eth0", "/usr/bin/arping -U $_IP_$ -w 1", dir, rights{admin: true, root: true}, "", ""},
		{"missing", "nosuchprogram up", "true", dir, rights{admin: true, root: true}, "has_setuid_bit: command '" + dir + "/nosuchprogram' not found", ""},
		{"missing but absolute", "/nosuchprogram up", "nosuchprogram", dir, rights{admin: true, root: true}, "", ""},
		{"in PATH", "true up", "true", dir, rights{admin: true, root: true}, "", ""},
		{"no rights", "true up", "true", dir, rights{}, "", "WARNING:  command '"},
		{"no lease", "/bin/true up", "true", dir, rights{root: true}, "", "WARNING:  no lease is enforced on the delegate IP \"10.0.0.5\""},
	} {
		log := &book{}
		cfg := Config{
			IP: netip.MustParseAddr("10.0.0.5"), UpCommand: test.up, DownCommand: test.up, ArpingCommand: test.arping,
			CommandPath: test.path, ArpingPath: test.path,
		}
		if test.name == "nothing is run" {
			cfg.CommandPath, cfg.DownCommand = "/sbin", "ip addr del $_IP_$/24 dev eth0"
		}
		_, err := newAddress(cfg, test.may, logging.To(log, logging.Debug1), nil)
		if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.err)
		}
		if test.log == "" && log.String() != "" || !strings.Contains(log.String(), test.log) {
			t.Errorf("%s: log %q, want %q", test.name, log, test.log)
		}
	}
}

func TestRoundTripTimes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		out  string
		want bool
	}{
		{"3 packets transmitted, 3 received\nrtt min/avg/max/mdev = 0.018/0.020/0.022/0.002 ms\n", true},
		{"round-trip min/avg/max/stddev = 10.1/12/13/1 ms", true},
		{"rtt min/avg/max/mdev = 0.000/0.000/0.000/0.000 ms\n", false},
		{"3 packets transmitted, 0 received, 100% packet loss\n", false},
		{"////", false},
		{"", false},
	} {
		if got := hasRoundTrip([]byte(test.out)); got != test.want {
			t.Errorf("%q: %v", test.out, got)
		}
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	mac := net.HardwareAddr{2, 1, 2, 3, 4, 5}
	for _, ip := range []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::12:3456")} {
		for _, frame := range announcements(ip, mac) {
			if by, ok := claims(frame, ip); !ok || by.String() != mac.String() {
				t.Errorf("announcement of %s reads as %s %v", ip, by, ok)
			}
			if _, ok := claims(frame, ip.Next()); ok {
				t.Errorf("announcement of %s claims %s", ip, ip.Next())
			}
			for n := range 28 {
				if _, ok := claims(frame[:n], ip); ok {
					t.Errorf("%d bytes of an announcement of %s claim it", n, ip)
				}
			}
		}
		if by, ok := claims(question(ip, mac), ip); ok {
			t.Errorf("the question for %s says that %s has it", ip, by)
		}
	}
	q := question(netip.MustParseAddr("fd00::12:3456"), mac)
	if to := net.HardwareAddr(q[:6]).String(); to != "33:33:ff:12:34:56" {
		t.Errorf("neighbour solicitation to %s", to)
	}
	// Over a message whose checksum is right the sum is 0.
	if sum := checksum(q[ethernetHeader+8:ethernetHeader+ipv6Header], q[ethernetHeader+ipv6Header:]); sum != 0 {
		t.Errorf("checksum is off by %#x", sum)
	}
}

func FuzzClaims(f *testing.F) {
	ip4, ip6 := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00::5")
	mac := net.HardwareAddr{2, 1, 2, 3, 4, 5}
	for _, ip := range []netip.Addr{ip4, ip6} {
		f.Add(question(ip, mac))
		for _, frame := range announcements(ip, mac) {
			f.Add(frame)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, ip := range []netip.Addr{ip4, ip6} {
			if by, ok := claims(frame, ip); ok && (len(by) != 6 || len(frame) < ethernetHeader+28) {
				t.Errorf("%x claims %s for %s", frame, ip, by)
			}
		}
	})
}

func FuzzCommands(f *testing.F) {
	for _, command := range []string{
		"/usr/bin/sudo /sbin/ip addr add $_IP_$/24 dev eth0 label eth0:0", "ip addr del $_IP_$/24 dev eth0", "arping -U $_IP_$ -w 1 -I eth0", "sudo", "-n",
	} {
		f.Add(command)
	}
	ip := netip.MustParseAddr("10.0.0.5")
	f.Fuzz(func(t *testing.T, command string) {
		argv, err := words(command, ip)
		if err != nil {
			return
		}
		if p, ok := parseAdd(argv, "/sbin", ip); ok && (p.device == "" || p.prefix.Addr() != ip || !p.prefix.IsValid()) {
			t.Errorf("%q goes to %+v", command, p)
		}
		isDelete(argv, "/sbin", ip)
		isArping(argv, "/sbin", ip)
	})
}
