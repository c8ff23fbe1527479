package main

import (
	"fmt"
	"strings"
)

// usage is what --help prints.
func (p *program) usage() string {
	words := map[operand]string{
		operandNode: " NODE-ID", operandNodeOptional: " [NODE-ID]",
		operandWatchdogOptional: " [WATCHDOG-ID]", operandProcessOptional: " [PID]",
	}
	return p.name + " - " + p.about + "\nUsage:\n  " + p.name + " [OPTION...]" + words[p.operand] + "\nOptions:\n" +
		`  -h, --host=HOST        host name or address of pgpool; with a leading slash,
                         the directory of its socket (default /tmp)
  -p, --port=PORT        PCP port (default 9898)
  -U, --username=NAME    PCP user (default: that of the operating system)
  -w, --no-password      never ask for the password
  -W, --password         always ask for the password
` + p.ownUsage() + `  -v, --verbose          print more
  -d, --debug            print what is sent and received
      --strict           exit status 1 if pgpool refuses the command
  -V, --version          print the version
  -?, --help             print this text

The password is looked for in $PCPPASSFILE, else in ~/.pcppass: lines of
host:port:user:password, readable for nobody else.
`
}

// ownUsage tells the options that not every program has.
func (p *program) ownUsage() string {
	id, idText := "-n, --node-id=ID", "number of the node"
	if p.operand == operandWatchdogOptional {
		id, idText = "-n, --watchdog-id=ID", "pgpool_node_id of a pgpool; else all are shown"
	}
	const next = "\n                         " // the column of the texts
	var b strings.Builder
	for _, o := range []struct {
		letter       string
		s            sOption // of the programs that have the letter
		option, text string
	}{
		{"n", p.s, id, idText},
		{"P", p.s, "-P, --process-id=PID", "process number of the worker"},
		{"a", sNone, "-a, --all", "print places that are not in use, too"},
		{"g", p.s, "-g, --gracefully", "wait until all clients have gone"},
		{"m", p.s, "-m, --mode=MODE", "smart: wait until all clients have gone (default)," + next + "fast, or immediate"},
		{"s", sSwitchover, "-s, --switchover", "have the primary step down and the node promoted"},
		{"s", sScope, "-s, --scope=SCOPE", "local (default), or cluster: all pgpools of the" + next + "watchdog cluster"},
	} {
		if strings.Contains(p.letters, o.letter) && o.s == p.s {
			fmt.Fprintf(&b, "  %-23s%s\n", o.option, o.text)
		}
	}
	if p.operand == operandWatchdogOptional {
		b.WriteString("      --layout=RELEASE   print as 4.2 or 4.1 did, for scripts of that time (default 4.7)\n")
	}
	return b.String()
}

// overview is what pcp without a program's name prints.
func overview() string {
	var b strings.Builder
	b.WriteString("Usage: pcp PROGRAM [OPTION...] [ARGUMENT], or PROGRAM by its own name. Programs:\n")
	for _, p := range programs() {
		b.WriteString("  " + p.name + strings.Repeat(" ", 28-len(p.name)) + p.about + "\n")
	}
	return b.String()
}
