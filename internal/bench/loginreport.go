package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// loginsReport is what logins.md tells.
type loginsReport struct {
	Results []loginResult `json:"results"`
	Costs   []loginCost   `json:"costs,omitempty"`
}

func (l *loginsReport) result(row, contender string) (loginResult, bool) {
	for _, one := range l.Results {
		if one.Row == row && one.Contender == contender && one.Error == "" {
			return one, true
		}
	}
	return loginResult{}, false
}

// paired is the median of the ratios of runs beside each other.
func (l loginResult) paired(other loginResult) float64 {
	var ratios []float64
	for i := range min(len(l.Runs), len(other.Runs)) {
		if other.Runs[i] > 0 {
			ratios = append(ratios, l.Runs[i]/other.Runs[i])
		}
	}
	if len(ratios) == 0 {
		return 0
	}
	return median(ratios)
}

// loginRatio is how many times as many logins as Pgpool-II's ours takes.
const loginRatio = 2

// loginTargets compare with Pgpool-II in every row.
func loginTargets(l *loginsReport) []target {
	var all []target
	for _, row := range loginRows() {
		t := target{Name: "logins by SCRAM, " + row.what() + ": a second / Pgpool-II", Wanted: fmt.Sprintf("≥ %d", loginRatio)}
		if l != nil {
			ours, haveOurs := l.result(row.id(), gopgpool)
			theirs, haveTheirs := l.result(row.id(), pgpool2)
			if ratio := ours.paired(theirs); haveOurs && haveTheirs && ratio > 0 {
				t.Known, t.Reached, t.Met = true, fmt.Sprintf("%.2f", ratio), ratio >= loginRatio
			}
		}
		all = append(all, t)
	}
	return all
}

func printLogins(w io.Writer, l loginResult) {
	if l.Error != "" {
		fmt.Fprintf(w, "%s, %s: failed: %s\n", l.Row, l.Contender, l.Error)
		return
	}
	fmt.Fprintf(w, "%s, %-15s %6.0f/s, slowest second %d, p50 %s p99 %s ms, cpu %.0f µs, clients' %.0f µs with %.2f derivations, %.3f server connections\n",
		l.Row, l.Contender, l.Rate, l.Slowest, milliseconds(l.P50), milliseconds(l.P99), l.CPU, l.ClientCPU, l.Derived, l.Opened)
}

// writeLogins puts logins.md into dir.
func (r report) writeLogins(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var md strings.Builder
	r.markdownLogins(&md)
	return os.WriteFile(filepath.Join(dir, "logins.md"), []byte(md.String()), 0o644)
}

func (r report) markdownLogins(w io.Writer) {
	fmt.Fprintf(w, "# Logins, measured\n\n")
	fmt.Fprintf(w, "Written by `make bench` on %s. How many clients a second connect, log in with SCRAM-SHA-256, run `SELECT 1` and leave, %d at\n"+
		"once; the servers ask the proxies for SCRAM too, whose connections to them are pooled and open. One run, %d rounds of %d s for each\n"+
		"contender in turn, medians of seconds. Clients, proxies and the server share the machine: %d × %s, Linux %s.\n\n",
		r.Started.UTC().Format("2006-01-02"), connectWorkers, r.Rounds, r.Seconds, r.Machine.Count, r.Machine.Processor, r.Machine.Kernel)
	for _, name := range []string{"postgresql", pgbouncer, pgpool2, gopgpool} {
		fmt.Fprintf(w, "- %s: %s\n", name, r.Versions[name])
	}
	fmt.Fprintf(w, "\n| target | wanted | reached | |\n|---|---|---|---|\n")
	for _, t := range loginTargets(r.Logins) {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.Name, t.Wanted, t.Reached, t.verdict())
	}
	fmt.Fprintln(w)
	for _, row := range loginRows() {
		r.Logins.markdownRow(w, row)
	}
	r.Logins.markdownCosts(w)
	fmt.Fprint(w, loginNotes)
}

const loginNotes = `## How to read it

- CPU is the proxy's user and system time of a login, of all its processes and threads; what the server spends is not in it. The
  clients' is theirs, which takes processors away from the proxy: compare CPU where it differs. × Pgpool-II is the median of
  the ratios of runs beside each other.
- A client keeps its keys as long as it is shown the same salt, so that it costs little; whoever shows a new salt to every client
  makes it derive its keys, which is 4,096 rounds of HMAC. The column derivations tells. libpq derives them in any case: that is the
  row in which all clients do.
- Server connections are those opened for a login, by the server's count: near 0 the proxy's pool serves.
- pgbouncer has the password in its file, pgbouncer-query and gopgpool-query get the user's verifier from a server (auth_query), which
  gopgpool asks at each login; pgpool2 and gopgpool have it encrypted in pool_passwd, with the same files. PgBouncer pools by session.
- Over TLS each client makes a whole handshake (ECDSA P-256, TLS 1.3); the proxies' connections to the server are without.
- gopgpool derives a user's keys at the first login and keeps them in memory, bound to the password, so that an entry that is
  changed or removed is served no longer.
`

func (l *loginsReport) markdownRow(w io.Writer, row loginRow) {
	started := false
	theirs, _ := l.result(row.id(), pgpool2)
	for _, one := range l.Results {
		if one.Row != row.id() {
			continue
		}
		if !started {
			fmt.Fprintf(w, "## %s\n\n| contender | a second | × Pgpool-II | slowest second | CPU µs | clients' CPU µs | "+
				"derivations | server connections | p50 ms | p99 ms |\n"+
				"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n", strings.ToUpper(row.what()[:1])+row.what()[1:])
			started = true
		}
		fmt.Fprintf(w, "| %s |%s\n", one.Contender, one.columns(theirs))
	}
	if started {
		fmt.Fprintln(w)
	}
}

// columns are the figures as Markdown, "failed" where there are none.
func (l loginResult) columns(base loginResult) string {
	if l.Error != "" {
		return " failed | | | | | | | | |"
	}
	cpu, ratio := "", ""
	if l.Contender != direct {
		cpu = fmt.Sprintf("%.0f", l.CPU)
	}
	if x := l.paired(base); x > 0 {
		ratio = fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf(" %.0f | %s | %d | %s | %.0f | %.2f | %.3f | %s | %s |",
		l.Rate, ratio, l.Slowest, cpu, l.ClientCPU, l.Derived, l.Opened, milliseconds(l.P50), milliseconds(l.P99))
}

// markdownCosts has a column for each recording.
func (l *loginsReport) markdownCosts(w io.Writer) {
	if len(l.Costs) == 0 {
		return
	}
	fmt.Fprintf(w, "## Where gopgpool's processor time goes\n\nFrom a profile (`perf`): share, and microseconds of a login.\n\n| |")
	for _, c := range l.Costs {
		fmt.Fprintf(w, " %s, %s |", c.Contender, strings.TrimPrefix(c.Row, "logins/"))
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("--:|", len(l.Costs)))
	for _, name := range costParts() {
		fmt.Fprintf(w, "| %s |", name)
		for _, c := range l.Costs {
			fmt.Fprintf(w, " %s |", c.cell(name, l))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

func costParts() []string {
	return []string{
		costConnections, costTransfer, costWaiting, costKernel, costMemory, costTLS, costDerivation, costSCRAM, costQuery,
		costScheduling, costRest,
	}
}

func (c loginCost) cell(part string, l *loginsReport) string {
	n := 0
	for _, p := range c.Parts {
		if p.Name == part {
			n = p.Samples
		}
	}
	if n == 0 {
		return ""
	}
	share := float64(n) / float64(cmp.Or(c.Samples, 1))
	measured, _ := l.result(c.Row, c.Contender)
	return fmt.Sprintf("%.1f %%, %.1f", 100*share, share*measured.CPU)
}
