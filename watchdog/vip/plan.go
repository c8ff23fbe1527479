package vip

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/logging"
)

// Config is what the parameters of the virtual address come to.
type Config struct {
	IP netip.Addr // delegate_ip; the zero Addr: no address, only the commands

	UpCommand, DownCommand, ArpingCommand string // if_up_cmd, if_down_cmd, arping_cmd
	CommandPath, ArpingPath, PingPath     string // if_cmd_path, arping_path, ping_path

	// Device and Prefix (delegate_device, delegate_prefix) say where the address goes if there is no if_up_cmd. Prefix 0 is the whole
	// address. A Device also says where to ask the neighbours.
	Device string
	Prefix int

	// The commands of an escalation, asked for at each: a reload may change them. nil is none.
	EscalationCommand, DeEscalationCommand func() string

	CommandTimeout time.Duration // for each of the commands above; 0: none
}

// plan is how the address comes and goes.
type plan struct {
	own    *place   // we place it; nil: the command does
	up     []string // run at each escalation
	down   []string // run at each de-escalation
	arping []string // told the neighbours by this command; nil: by ourselves
	spare  []string // the usual arping_cmd, for devices on which we cannot announce
	leased bool     // what is found on a device of this host gets a lifetime
}

// rights are what the process may do.
type rights struct {
	admin bool // CAP_NET_ADMIN
	root  bool
}

// currentRights reads them. Without /proc or with an odd kernel there are none.
func currentRights() rights {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return rights{admin: err == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0, root: os.Geteuid() == 0}
}

// makePlan decides who does what.
func makePlan(cfg Config, may rights) (plan, error) {
	if !cfg.IP.IsValid() {
		return plan{}, nil
	}
	up, err1 := words(cfg.UpCommand, cfg.IP)
	down, err2 := words(cfg.DownCommand, cfg.IP)
	arping, err3 := words(cfg.ArpingCommand, cfg.IP)
	if err := errors.Join(err1, err2, err3); err != nil {
		return plan{}, err
	}
	p := plan{up: up, down: down, arping: arping, leased: may.admin}
	where, usual := parseAdd(up, cfg.CommandPath, cfg.IP)
	if len(up) == 0 {
		if where, err1 = configuredPlace(cfg, may); err1 != nil {
			return plan{}, err1
		}
		usual = true
	}
	if usual && may.admin {
		p.own, p.up = &where, nil
		if isDelete(down, cfg.CommandPath, cfg.IP) {
			p.down = nil
		}
	}
	if may.admin && isArping(arping, cfg.ArpingPath, cfg.IP) {
		p.arping, p.spare = nil, arping
	}
	return p, nil
}

// configuredPlace is where the address goes without an if_up_cmd.
func configuredPlace(cfg Config, may rights) (place, error) {
	if cfg.Device == "" {
		return place{}, errors.New("delegate_ip is set, but neither if_up_cmd nor delegate_device says how to bring it up")
	}
	if !may.admin {
		return place{}, errors.New("delegate_device needs the right CAP_NET_ADMIN, which this process does not have; set if_up_cmd instead")
	}
	bits := cfg.Prefix
	if bits == 0 {
		bits = cfg.IP.BitLen()
	}
	where := place{device: cfg.Device, prefix: netip.PrefixFrom(cfg.IP, bits)}
	if !where.prefix.IsValid() {
		return place{}, fmt.Errorf("delegate_prefix = %d is no length of a prefix for %s", cfg.Prefix, cfg.IP)
	}
	return where, nil
}

// check looks at the programs before they are needed (manual: if_up_cmd). Those of an absolute if_up_cmd are the user's business.
func (p *plan) check(cfg Config, may rights, log logging.Logger) error {
	if !cfg.IP.IsValid() {
		return nil
	}
	if !may.admin {
		log.Log(logging.Event{
			Severity: logging.Warning,
			Message:  fmt.Sprintf("no lease is enforced on the delegate IP %q", cfg.IP),
			Detail: "The process lacks the right CAP_NET_ADMIN, so the configured commands are run as they are. " +
				"If this process is killed or frozen while it holds the address, the address stays on this host.",
			Hint: "Run pgpool as root, or give it CAP_NET_ADMIN and CAP_NET_RAW (AmbientCapabilities in the systemd unit).",
		})
	}
	if strings.HasPrefix(strings.TrimSpace(cfg.UpCommand), "/") {
		return nil
	}
	for _, c := range []struct {
		argv []string
		dir  string
	}{{p.up, cfg.CommandPath}, {p.down, cfg.CommandPath}, {p.arping, cfg.ArpingPath}} {
		if len(c.argv) == 0 {
			continue
		}
		found, err := executable(c.argv[0], c.dir)
		if err != nil {
			return fmt.Errorf("has_setuid_bit: command '%s' not found", inDirectory(c.argv[0], c.dir))
		}
		if !may.root && !may.admin && !isSetuidRoot(found) {
			log.Log(logging.Event{
				Severity: logging.Warning, Message: fmt.Sprintf("command '%s' does not have the setuid bit of root", found),
				Detail: "It may lack the right to change network addresses.",
			})
		}
	}
	return nil
}

// executable finds a program: absolute, in the directory of its parameter, or, for a bare name, in PATH.
func executable(program, dir string) (string, error) {
	full := inDirectory(program, dir)
	err := unix.Access(full, unix.X_OK)
	if st, e := os.Stat(full); err == nil && e == nil && !st.IsDir() {
		return full, nil
	}
	if path.Base(program) == program {
		if found, err := exec.LookPath(program); err == nil {
			return found, nil
		}
	}
	if err == nil {
		err = unix.EACCES
	}
	return "", &fs.PathError{Op: "exec", Path: full, Err: err}
}

func isSetuidRoot(file string) bool {
	var st unix.Stat_t
	return unix.Stat(file, &st) == nil && st.Mode&unix.S_ISUID != 0 && st.Uid == 0
}
