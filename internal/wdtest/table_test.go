package wdtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// table is the results as a document.
func table(all []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What clients notice when the watchdog is harmed\n\n"+
		"Written by `make wd`: real pgpools and a real PostgreSQL on simulated hosts, `wd_lease_time = 3`, `wd_heartbeat_deadtime = 3`.\n"+
		"A client sends SELECT 1 through the virtual address every 50 ms, each on a new session, and pings it; the addresses of every host\n"+
		"are looked at every 20 ms and at each change; a sniffer asks the network who has the address every 50 ms.\n\n"+
		"Takeover is the time from the fault to the first SELECT that another host answered. Longest gap is between two successful SELECTs,\n"+
		"the mending included; where nobody may hold the address it lasts as long as the harm.\n\n"+
		"| nodes | fault | address | takeover | longest gap | no ping | two holders | two answers | verdict |\n"+
		"|---|---|---|---|---|---|---|---|---|\n")
	coarsest, looks, late := time.Duration(0), 0, 0
	for _, r := range all {
		takeover := "-"
		if r.takeover > 0 {
			takeover = seconds(r.takeover)
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s | %d | %d | %s |\n", r.nodes, r.fault, r.then, takeover, seconds(r.outage),
			seconds(r.silence), r.overlaps, r.answers, r.verdict)
		coarsest, looks, late = max(coarsest, r.coarsest), looks+r.looks, late+r.late
	}
	fmt.Fprintf(&b, "\nOf %d looks at a host's addresses %d came more than 40 ms after the one before, as the machine had other work; the longest time\n"+
		"between two was %d ms.\n"+
		"For scale, Pgpool-II 4.7 with `wd_heartbeat_deadtime = 3`: 2.2 s for a graceful stop; 6.7 s for SIGKILL, and from then on two hosts\n"+
		"hold the address.\n", looks, late, coarsest.Milliseconds())
	return b.String()
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func TestTable(t *testing.T) {
	t.Parallel()
	got := table([]result{{nodes: 3, fault: "f", then: "a to b", takeover: 1500 * time.Millisecond, coarsest: 30 * time.Millisecond, verdict: "ok"}})
	for _, want := range []string{"| 3 | f | a to b | 1.50 s | 0.00 s | 0.00 s | 0 | 0 | ok |", "two was 30 ms"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
