package vip

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// placeholder is what stands for the address in commands (manual: if_up_cmd).
const placeholder = "$_IP_$"

// maxWords is how many words of a command Pgpool-II takes.
const maxWords = 23

// place is where the address goes.
type place struct {
	device    string
	prefix    netip.Prefix // of the address itself, not masked
	label     string       // IPv4 only
	broadcast bool         // with the broadcast address of its network
	noRoute   bool         // IPv6: without a route to its network
}

// words splits a command on blanks, without quoting, and puts the address into it.
func words(command string, ip netip.Addr) ([]string, error) {
	argv := strings.Fields(strings.ReplaceAll(command, placeholder, ip.String()))
	if len(argv) > maxWords {
		return nil, fmt.Errorf("command %q has more than %d words", command, maxWords)
	}
	return argv, nil
}

// isSystem reports whether a program is the system's own of that name: a stand-in elsewhere is to be run.
func isSystem(program, name string) bool {
	return path.Base(program) == name && slices.Contains([]string{"/sbin", "/usr/sbin", "/bin", "/usr/bin"}, path.Dir(program))
}

// withoutSudo takes sudo, in front of the program, off a command. Relative programs are looked for in dir.
func withoutSudo(argv []string, dir string) []string {
	if len(argv) == 0 {
		return nil
	}
	argv = slices.Clone(argv)
	argv[0] = inDirectory(argv[0], dir)
	if !isSystem(argv[0], "sudo") {
		return argv
	}
	argv = argv[1:]
	for len(argv) > 0 && (argv[0] == "-n" || argv[0] == "--non-interactive") {
		argv = argv[1:]
	}
	if len(argv) > 0 && !strings.Contains(argv[0], "/") {
		argv[0] = "/sbin/" + argv[0] // sudo finds it in its path of the system's directories
	}
	return argv
}

// inDirectory is the rule for executables: absolute, or in the directory of the parameter.
func inDirectory(program, dir string) string {
	if path.IsAbs(program) {
		return program
	}
	return path.Join("/", dir, program)
}

// parseIP takes the words behind `[sudo] ip [-4|-6] addr VERB`; false if the command is something else.
func parseIP(argv []string, dir string, verbs ...string) ([]string, bool) {
	argv = withoutSudo(argv, dir)
	if len(argv) == 0 || !isSystem(argv[0], "ip") {
		return nil, false
	}
	argv = argv[1:]
	if len(argv) > 0 && (argv[0] == "-4" || argv[0] == "-6") {
		argv = argv[1:]
	}
	if len(argv) < 2 || !slices.Contains([]string{"a", "ad", "addr", "address"}, argv[0]) || !slices.Contains(verbs, argv[1]) {
		return nil, false
	}
	return argv[2:], true
}

// parseAdd understands `[sudo] ip addr add IP[/N] [brd +] dev D [label L]`: the usual if_up_cmd, which we carry out ourselves. Any other
// word makes it a command to be run.
func parseAdd(argv []string, dir string, ip netip.Addr) (place, bool) {
	rest, ok := parseIP(argv, dir, "add", "replace")
	if !ok || len(rest) == 0 {
		return place{}, false
	}
	p := place{}
	if p.prefix, ok = parsePrefix(rest[0]); !ok || p.prefix.Addr() != ip {
		return place{}, false
	}
	for rest = rest[1:]; len(rest) >= 2; rest = rest[2:] {
		switch word, value := rest[0], rest[1]; {
		case word == "dev":
			p.device = value
		case word == "label":
			p.label = value
		case (word == "brd" || word == "broadcast") && value == "+":
			p.broadcast = true
		default:
			return place{}, false
		}
	}
	if ip.Is6() {
		p.label = ""
	}
	return p, len(rest) == 0 && p.device != ""
}

// isDelete recognises `[sudo] ip addr del IP[/N] dev D`, which removing an address that we placed does not need.
func isDelete(argv []string, dir string, ip netip.Addr) bool {
	rest, ok := parseIP(argv, dir, "del", "delete")
	if !ok || len(rest) != 3 || rest[1] != "dev" {
		return false
	}
	p, ok := parsePrefix(rest[0])
	return ok && p.Addr() == ip
}

// isArping recognises the usual arping_cmd, `[sudo] arping [-U|-A] IP -w 1 -I D` in any order: our own announcement takes its place.
func isArping(argv []string, dir string, ip netip.Addr) bool {
	argv = withoutSudo(argv, dir)
	if len(argv) == 0 || !isSystem(argv[0], "arping") {
		return false
	}
	announces, named := false, false
	for i := 1; i < len(argv); i++ {
		switch word := argv[i]; {
		case word == "-U" || word == "-A":
			announces = true
		case word == "-w" || word == "-c" || word == "-I" || word == "-i" || word == "-s":
			i++
		case word == "-q" || word == "-b":
		case word == ip.String():
			named = true
		default:
			return false
		}
	}
	return announces && named
}

// parsePrefix reads an address with or without the length of its prefix.
func parsePrefix(text string) (netip.Prefix, bool) {
	address, bits, found := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" {
		return netip.Prefix{}, false
	}
	n := ip.BitLen()
	if found {
		if n, err = strconv.Atoi(bits); err != nil {
			return netip.Prefix{}, false
		}
	}
	p := netip.PrefixFrom(ip, n)
	return p, p.IsValid()
}
