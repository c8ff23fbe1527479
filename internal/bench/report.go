package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// report is all that was measured; results.json is this, as it stands.
type report struct {
	Started  time.Time         `json:"started"`
	Quick    bool              `json:"quick"`
	Seconds  int               `json:"seconds_per_run"`
	Rounds   int               `json:"rounds"`
	Jobs     int               `json:"pgbench_jobs"`
	Scale    int               `json:"pgbench_scale"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rows     []rowResult       `json:"rows"`
	Idle     []idleResult      `json:"idle,omitempty"`
	Connects []connectResult   `json:"connects,omitempty"`
	Logins   *loginsReport     `json:"logins,omitempty"`
	Virtual  *virtualResult    `json:"virtual_session,omitempty"`
	Allocs   *allocResult      `json:"warm_simple_query,omitempty"`
	Targets  []target          `json:"targets"`
}

// machine is where it was measured.
type machine struct {
	Processor string `json:"processor"`
	Count     int    `json:"count"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
}

// rowResult is one row with all its contenders.
type rowResult struct {
	row
	ID    string `json:"id"`
	Cells []cell `json:"contenders"`
}

// cell is one contender in one row. TPS, CPU and latencies are medians over the runs.
type cell struct {
	Contender    string    `json:"contender"`
	TPS          float64   `json:"tps"`
	Ratio        float64   `json:"ratio_to_base"` // to topology.base; 0 without one
	CPU          float64   `json:"proxy_cpu_us_per_transaction"`
	P50          int64     `json:"latency_p50_us"`
	P95          int64     `json:"latency_p95_us"`
	P99          int64     `json:"latency_p99_us"`
	Memory       int64     `json:"proxy_memory_bytes"`
	Transactions int64     `json:"transactions"`
	Failed       int64     `json:"failed_transactions"`
	Runs         []float64 `json:"tps_of_each_run"`
	Errors       []string  `json:"errors,omitempty"`
}

// ok tells whether the cell may be compared.
func (c cell) ok() bool { return len(c.Errors) == 0 && c.Failed == 0 && c.TPS > 0 }

// cell finds a contender in the row.
func (r rowResult) cell(contender string) (cell, bool) {
	for _, c := range r.Cells {
		if c.Contender == contender {
			return c, true
		}
	}
	return cell{}, false
}

// relate fills in the ratios once every cell is there.
func (r *rowResult) relate() {
	base, ok := r.cell(r.Topology.base())
	if !ok || base.TPS == 0 {
		return
	}
	for i := range r.Cells {
		r.Cells[i].Ratio = r.Cells[i].TPS / base.TPS
	}
}

// row finds a row by its id.
func (r report) row(id string) (rowResult, bool) {
	for _, x := range r.Rows {
		if x.ID == id {
			return x, true
		}
	}
	return rowResult{}, false
}

// problems lists what went wrong; a report with any is a failed run.
func (r report) problems() []string {
	var all []string
	for _, row := range r.Rows {
		for _, c := range row.Cells {
			if c.Failed > 0 {
				all = append(all, fmt.Sprintf("%s %s: %d failed transactions", row.ID, c.Contender, c.Failed))
			}
			for _, e := range c.Errors {
				all = append(all, fmt.Sprintf("%s %s: %s", row.ID, c.Contender, e))
			}
		}
	}
	for _, i := range r.Idle {
		if i.Error != "" {
			all = append(all, fmt.Sprintf("%s %s: %s", i.id(), i.Contender, i.Error))
		}
	}
	for _, c := range r.Connects {
		if c.Error != "" {
			all = append(all, fmt.Sprintf("connects %s: %s", c.Contender, c.Error))
		}
	}
	if r.Logins != nil {
		for _, l := range r.Logins.Results {
			if l.Error != "" {
				all = append(all, fmt.Sprintf("%s %s: %s", l.Row, l.Contender, l.Error))
			}
		}
	}
	return all
}

// write puts into dir what was measured, and tells the names of the files. Without any row the rest of the comparison is left as
// it is.
func (r report) write(dir string) (names []string, err error) {
	if len(r.Rows) > 0 {
		if err := r.writeRows(dir); err != nil {
			return nil, err
		}
		names = append(names, "results.json", "results.md", "chart.svg")
	}
	if r.Logins != nil {
		if err := r.writeLogins(dir); err != nil {
			return nil, err
		}
		names = append(names, "logins.md")
	}
	return names, nil
}

// writeRows writes everything but the logins.
func (r report) writeRows(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	js, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var md strings.Builder
	r.markdown(&md)
	for name, text := range map[string]string{
		"results.json": string(js) + "\n",
		"results.md":   md.String(),
		"chart.svg":    chart(r),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// markdown writes the report for people.
func (r report) markdown(w io.Writer) {
	fmt.Fprintf(w, "# Benchmark\n\n")
	fmt.Fprintf(w, "Written by `make bench`%s on %s. Each figure is the median of %d runs of %d s; the contenders take turns in\neach "+
		"round. `pgbench` (scale %d, %d threads), the servers and the proxies share the machine: %d × %s, Linux %s.\n\n",
		map[bool]string{true: " (`BENCH=quick`)"}[r.Quick], r.Started.UTC().Format("2006-01-02"),
		r.Rounds, r.Seconds, r.Scale, r.Jobs, r.Machine.Count, r.Machine.Processor, r.Machine.Kernel)
	for _, name := range versioned() {
		if v := r.Versions[name]; v != "" {
			fmt.Fprintf(w, "- %s: %s\n", name, v)
		}
	}
	fmt.Fprintf(w, "\n![Throughput and processor time](chart.svg)\n\n## Targets\n\n")
	r.markdownTargets(w)
	for _, t := range topologies() {
		r.markdownRows(w, t)
	}
	r.markdownConnects(w)
	r.markdownVirtual(w)
	r.markdownIdle(w)
	if problems := r.problems(); len(problems) > 0 {
		fmt.Fprintf(w, "## Failed\n\n")
		for _, p := range problems {
			fmt.Fprintf(w, "- %s\n", p)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, `## How to read it

- CPU is the proxy's user and system time per transaction, of all its processes. Latencies of `+"`-S`"+` come from a sample
  of 5 %% of the transactions, elsewhere from all. With `+"`-C`"+` a pgbench thread connects one
  client after the other, so the latencies there are mostly waiting for its other clients.
- Memory is taken half-way through a run; pages that several processes share are counted once.
- "direct" over three servers is the primary alone: one server without a proxy.
- PgBouncer pools by session except under transaction mode; both pgpools have the same files (statement-level balancing over three servers).
- Of session mode and transaction mode with a connection for each client, each run is compared with the run beside it; the target's figure
  is the median of these ratios.
  Everything else is at its default, passwords are off, fsync is off.
`)
}

func (r report) markdownTargets(w io.Writer) {
	fmt.Fprintf(w, "| target | wanted | reached | |\n|---|---|---|---|\n")
	for _, t := range r.Targets {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.Name, t.Wanted, t.Reached, t.verdict())
	}
	fmt.Fprintln(w)
}

func (r report) markdownRows(w io.Writer, t topology) {
	heading := map[topology]string{
		oneBackend: "One server", threeBackends: "Primary and two standbys",
		pooled: fmt.Sprintf("Transaction mode, %d server connections", poolSize),
		ample:  "A server connection for each client: session mode and transaction mode",
	}[t]
	started := false
	for _, row := range r.Rows {
		if row.Topology != t {
			continue
		}
		if !started {
			fmt.Fprintf(w, "## %s\n\n| pgbench | clients | contender | TPS | × %s | CPU µs | p50 ms | p95 ms | p99 ms | memory MB |\n"+
				"|---|--:|---|--:|--:|--:|--:|--:|--:|--:|\n", heading, t.base())
			started = true
		}
		for _, c := range row.Cells {
			fmt.Fprintf(w, "| %s | %d | %s |%s\n", row.command(), row.Clients, c.Contender, c.columns())
		}
	}
	if started {
		fmt.Fprintln(w)
	}
}

// command is the row as pgbench options.
func (r row) command() string {
	s := "TPC-B"
	if r.Script == selectOnly {
		s = "-S"
	}
	if r.Reconnect {
		s += " -C"
	}
	return s + " -M " + string(r.Mode)
}

// columns are the figures of a cell as Markdown, "failed" where there are none.
func (c cell) columns() string {
	if !c.ok() {
		return " failed | | | | | | |"
	}
	cpu, memory := "", ""
	if c.Contender != direct {
		cpu, memory = fmt.Sprintf("%.1f", c.CPU), megabytes(c.Memory)
	}
	return fmt.Sprintf(" %.0f | %.2f | %s | %s | %s | %s | %s |",
		c.TPS, c.Ratio, cpu, milliseconds(c.P50), milliseconds(c.P95), milliseconds(c.P99), memory)
}

func milliseconds(µs int64) string { return fmt.Sprintf("%.2f", float64(µs)/1000) }

func megabytes(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", float64(bytes)/(1<<20))
}

// printRow shows a row as soon as it is complete.
func printRow(w io.Writer, r rowResult) {
	fmt.Fprintf(w, "%s\n", r.ID)
	for _, c := range r.Cells {
		if !c.ok() {
			fmt.Fprintf(w, "  %-10s FAILED (%d failed transactions) %s\n", c.Contender, c.Failed, strings.Join(c.Errors, "; "))
			continue
		}
		proxy := ""
		if c.Contender != direct {
			proxy = fmt.Sprintf("  cpu %.1f µs  %s MB", c.CPU, megabytes(c.Memory))
		}
		fmt.Fprintf(w, "  %-10s %8.0f tps  %5.2f × %s  p50 %s  p95 %s  p99 %s ms%s\n",
			c.Contender, c.TPS, c.Ratio, r.Topology.base(), milliseconds(c.P50), milliseconds(c.P95), milliseconds(c.P99), proxy)
	}
}

// printTargets shows the targets and what was reached.
func printTargets(w io.Writer, targets []target) {
	fmt.Fprintf(w, "\n%-88s %-10s %-10s\n", "target", "wanted", "reached")
	left := 0
	for _, t := range targets {
		if !t.Known {
			left++
			continue
		}
		fmt.Fprintf(w, "%-88s %-10s %-10s %s\n", t.Name, t.Wanted, t.Reached, t.verdict())
	}
	if left > 0 {
		fmt.Fprintf(w, "and %d targets that were not measured\n", left)
	}
}
