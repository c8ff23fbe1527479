package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
)

func TestParsePgbench(t *testing.T) {
	const good = `pgbench (15.18)
transaction type: <builtin: select only>
number of transactions actually processed: 4321
number of failed transactions: 2 (0.046%)
latency average = 0.046 ms
initial connection time = 1.2 ms
tps = 21647.25 (without initial connection time)
`
	tests := []struct {
		name, out string
		want      sample
		wantErr   bool
	}{
		{"a report", good, sample{tps: 21647.25, transactions: 4321, failed: 2}, false},
		{"before PostgreSQL 15", strings.Replace(good, "number of failed", "number of other", 1), sample{tps: 21647.25, transactions: 4321}, false},
		{"no rate", strings.Replace(good, "tps =", "tpm =", 1), sample{}, true},
		{"no count", strings.Replace(good, "actually", "hardly", 1), sample{}, true},
		{"nothing processed", strings.Replace(good, "4321", "0", 1), sample{}, true},
		{"empty", "", sample{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parsePgbench(tt.out)
			if (err != nil) != tt.wantErr {
				t.Fatalf("error %v, want one: %t", err, tt.wantErr)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestReadLatencies(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"log.7":   "0 1 300 0 1700000000 1\n0 2 100 0 1700000000 2\n1 1 failed 0 1700000000 2\n",
		"log.7.1": "2 1 200 0 1700000000 3\n3 1 skipped 0 1700000000 3\n",
		"other":   "not a log\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readLatencies(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{100, 200, 300}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{"0 1\n", "0 1 many 0 1 1\n"} {
		if _, err := appendLatencies(nil, strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(i + 1)
	}
	tests := []struct {
		sorted []int64
		share  float64
		want   int64
	}{
		{nil, 0.5, 0},
		{[]int64{7}, 0.5, 7},
		{[]int64{7}, 0.99, 7},
		{hundred, 0.50, 50},
		{hundred, 0.95, 95},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
	}
	for _, tt := range tests {
		if got := percentile(tt.sorted, tt.share); got != tt.want {
			t.Errorf("percentile(%d values, %g) = %d, want %d", len(tt.sorted), tt.share, got, tt.want)
		}
	}
}

func TestMedian(t *testing.T) {
	tests := []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 2, 9}, 3},
	}
	for _, tt := range tests {
		before := slices.Clone(tt.values)
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %g, want %g", tt.values, got, tt.want)
		}
		if !slices.Equal(before, tt.values) {
			t.Errorf("median changed its argument to %v", tt.values)
		}
	}
}

func TestSumUp(t *testing.T) {
	runs := []sample{
		{tps: 100, transactions: 1000, cpu: 10 * time.Millisecond, memory: 5, latencies: []int64{1, 2, 3}},
		{tps: 300, transactions: 3000, cpu: 90 * time.Millisecond, latencies: []int64{4, 5, 6}, failed: 1},
		{tps: 200, transactions: 2000, cpu: 40 * time.Millisecond, latencies: []int64{7, 8, 9}},
	}
	got := sumUp(gopgpool, runs, []error{errors.New("one went wrong")})
	want := cell{
		Contender: gopgpool, TPS: 200, CPU: 20, P50: 5, P95: 6, P99: 6, Memory: 5, Transactions: 6000, Failed: 1,
		Runs: []float64{100, 300, 200}, Errors: []string{"one went wrong"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 10 1 1 0 -1 4194304 5 6 0 0 100 50 7 3 20 0 1 0 99 0 0"
	tests := []struct {
		name, text string
		want       procStat
		wantErr    bool
	}{
		{"plain", "42 (pgpool)" + tail, procStat{42, 10, 1600 * time.Millisecond}, false},
		{"a name of brackets and spaces", "42 (a) (b c)" + tail, procStat{42, 10, 1600 * time.Millisecond}, false},
		{"no name", "42 pgpool" + tail, procStat{}, true},
		{"short", "42 (pgpool) S 10", procStat{}, true},
		{"no number", "x (pgpool)" + tail, procStat{}, true},
		{"empty", "", procStat{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStat(tt.text)
			if (err != nil) != tt.wantErr || err == nil && got != tt.want {
				t.Errorf("got %+v, %v; want %+v, error %t", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

// A shell with a child: both are counted, and stopping the one ends the other.
func TestProcessTree(t *testing.T) {
	dir := t.TempDir()
	p, err := startProcess("tree", dir, account{}, syscall.SIGTERM, "/bin/sh", "-c", "trap '' TERM; sleep 1000 & echo up; wait; wait")
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			p.stop(syscall.SIGKILL, time.Second)
		}
	}()
	deadline := time.Now().Add(time.Minute)
	var procs []procStat
	for len(procs) < 2 && time.Now().Before(deadline) {
		if procs, err = tree(p.pid()); err != nil {
			t.Fatal(err)
		}
	}
	if len(procs) != 2 {
		t.Fatalf("the tree has %d processes, want 2", len(procs))
	}
	u, err := usageOf(p.pid())
	if err != nil {
		t.Fatal(err)
	}
	if u.count != 2 || u.memory <= 0 || u.rss < u.memory {
		t.Errorf("usage %+v: want 2 processes with memory, no less resident than in shares", u)
	}
	if err := p.check(); err != nil {
		t.Errorf("it runs, yet: %v", err)
	}
	p.stop(syscall.SIGTERM, 10*time.Millisecond)
	stopped = true
	if err := p.check(); err == nil {
		t.Error("stopped, yet said to run")
	}
	for alive(procs[1].pid) { // it was sent SIGKILL; dying takes a moment
		if time.Now().After(deadline) {
			t.Fatal("the child outlived it")
		}
	}
	if _, err := cpuOf(p.pid()); err == nil {
		t.Error("a process that is gone has a processor time")
	}
}

// alive tells whether a process runs; one that nobody has reaped yet does not.
func alive(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func TestKilobytes(t *testing.T) {
	const text = "00400000-7fff [rollup]\nRss:                1234 kB\nPss:                 567 kB\nPss_Anon: 1 kB\n"
	if rss, pss, none := kilobytes(text, "Rss:"), kilobytes(text, "Pss:"), kilobytes(text, "Swap:"); rss != 1234 || pss != 567 || none != 0 {
		t.Errorf("got %d, %d, %d", rss, pss, none)
	}
}

func TestRows(t *testing.T) {
	all, quick := allRows(), quickRows()
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.id()] {
			t.Errorf("%s is there twice", r.id())
		}
		seen[r.id()] = true
	}
	for _, r := range quick {
		if !seen[r.id()] {
			t.Errorf("the quick row %s is not in the table", r.id())
		}
	}
	for _, target := range ratioTargets() {
		if !slices.Contains(quick, target.row) {
			t.Errorf("quick leaves out %s, which %q needs", target.row.id(), target.name)
		}
	}
	if got := matching(all, regexp.MustCompile("^one/select/simple/16$")); len(got) != 1 {
		t.Errorf("the filter keeps %v", got)
	}
}

func TestPgbenchArgs(t *testing.T) {
	tests := []struct {
		row  row
		want string
	}{
		{
			row{Script: selectOnly, Mode: prepared, Clients: 1},
			"--no-vacuum --client=1 --jobs=1 --time=5 --protocol=prepared --log --sampling-rate=0.05 --select-only",
		},
		{row{Script: tpcb, Mode: simple, Clients: 64}, "--no-vacuum --client=64 --jobs=2 --time=5 --protocol=simple --log"},
		{
			row{Script: selectOnly, Mode: simple, Clients: 16, Reconnect: true},
			"--no-vacuum --client=16 --jobs=2 --time=5 --protocol=simple --log --select-only --connect",
		},
	}
	for _, tt := range tests {
		if got := strings.Join(tt.row.pgbenchArgs(5, 2), " "); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.row.id(), got, tt.want)
		}
	}
}

func TestEstimate(t *testing.T) {
	contenders := func(t topology) int { return map[topology]int{oneBackend: 4, threeBackends: 3, ample: 2}[t] }
	one := row{Topology: oneBackend}
	three := row{Topology: threeBackends}
	tests := []struct {
		name string
		rows []row
		idle int
		want time.Duration
	}{
		{"nothing", nil, 0, 0},
		{"one row", []row{one}, 0, stageOverhead + 8*(5*time.Second+runOverhead)},
		{"both", []row{one, three}, 2, 2*stageOverhead + 14*(5*time.Second+runOverhead) + 2*idleOverhead},
		{"three times as often", []row{{Topology: ample}}, 0, stageOverhead + 12*(5*time.Second+runOverhead)},
	}
	for _, tt := range tests {
		if got := estimate(tt.rows, contenders, 5, 2, extras{idle: tt.idle}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestOptions(t *testing.T) {
	tests := []struct {
		args    string
		out     string
		idle    bool
		wantErr bool
	}{
		{"", "docs/bench", true, false},
		{"-quick", "docs/bench", true, false},
		{"-rows three/", "", false, false},
		{"-rows three/ -idle", "", true, false},
		{"-contenders gopgpool", "", true, false},
		{"-rows three/ -out x", "x", false, false},
		{"-rows (", "", false, true},
		{"-rounds 0", "", false, true},
	}
	for _, tt := range tests {
		got, err := parseOptions(strings.Fields(tt.args))
		if (err != nil) != tt.wantErr {
			t.Errorf("%q: error %v", tt.args, err)
			continue
		}
		if err == nil && (got.out != tt.out || got.idle != tt.idle) {
			t.Errorf("%q: out %q, idle %t; want %q, %t", tt.args, got.out, got.idle, tt.out, tt.idle)
		}
	}
}

func TestContendersOver(t *testing.T) {
	tests := []struct {
		filter string
		over   topology
		want   string
	}{
		{"", oneBackend, "direct pgbouncer pgpool2 gopgpool"},
		{"", threeBackends, "direct pgpool2 gopgpool"},
		{"", pooled, "pgbouncer gopgpool"},
		{"", ample, "gopgpool gopgpool-transaction"},
		{"^(direct|pgbouncer)$", threeBackends, "direct"},
	}
	for _, tt := range tests {
		got := strings.Join(options{contenders: regexp.MustCompile(tt.filter)}.contendersOver(tt.over), " ")
		if got != tt.want {
			t.Errorf("%q over %s: %s, want %s", tt.filter, tt.over, got, tt.want)
		}
	}
}

func TestJudge(t *testing.T) {
	r := row{Topology: oneBackend, Script: selectOnly, Mode: simple, Clients: 16}
	least := ratioTarget{row: r, peer: pgbouncer, of: tpsOf, bound: 0.95}
	most := ratioTarget{row: r, peer: pgbouncer, of: cpuCost, bound: 1.2, most: true}
	with := func(ours, theirs cell) report {
		ours.Contender, theirs.Contender = gopgpool, pgbouncer
		return report{Rows: []rowResult{{row: r, ID: r.id(), Cells: []cell{theirs, ours}}}}
	}
	tests := []struct {
		name       string
		target     ratioTarget
		report     report
		known, met bool
	}{
		{"faster", least, with(cell{TPS: 101}, cell{TPS: 100}), true, true},
		{"at the bound", least, with(cell{TPS: 95}, cell{TPS: 100}), true, true},
		{"slower", least, with(cell{TPS: 94}, cell{TPS: 100}), true, false},
		{"cheap", most, with(cell{TPS: 1, CPU: 12}, cell{TPS: 1, CPU: 10}), true, true},
		{"dear", most, with(cell{TPS: 1, CPU: 12.1}, cell{TPS: 1, CPU: 10}), true, false},
		{"failed transactions", least, with(cell{TPS: 200, Failed: 1}, cell{TPS: 100}), false, false},
		{"the peer failed", least, with(cell{TPS: 200}, cell{TPS: 100, Errors: []string{"gone"}}), false, false},
		{"no cost to compare with", most, with(cell{TPS: 1}, cell{TPS: 1}), false, false},
		{"row left out", least, report{}, false, false},
	}
	for _, tt := range tests {
		if got := tt.target.judge(tt.report); got.Known != tt.known || got.Met != tt.met {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
}

func TestSmallTargets(t *testing.T) {
	session, byTransaction := crowds()[0], crowds()[1]
	idle := func(each int64, problem string) []idleResult {
		of := crowd{Mode: sessionMode, Clients: idleSessions}
		return []idleResult{
			{Contender: pgbouncer, crowd: of, After: 10},
			{Contender: gopgpool, crowd: of, Before: 1000, After: 1000 + idleSessions*each, Error: problem},
		}
	}
	connects := func(slowest int64, problem string) []connectResult {
		return []connectResult{{Contender: pgbouncer, Slowest: 9}, {Contender: gopgpool, Slowest: slowest, Error: problem}}
	}
	virtual := func(inside int) *virtualResult {
		return &virtualResult{Rows: []virtualShare{{Samples: 1000, Inside: 1}, {Samples: 1000, Inside: inside}}}
	}
	tests := []struct {
		name string
		got  target
		want string
	}{
		{"idle met", idleTarget(session, idle(idleSessionBytes, "")), "met"},
		{"idle missed", idleTarget(session, idle(idleSessionBytes+1, "")), "NOT met"},
		{"idle failed", idleTarget(session, idle(1, "refused")), "not measured"},
		{"another crowd", idleTarget(byTransaction, idle(1, "")), "not measured"},
		{"connects met", connectTarget(connects(connectsPerSecond, "")), "met"},
		{"connects missed", connectTarget(connects(connectsPerSecond-1, "")), "NOT met"},
		{"connects failed", connectTarget(connects(connectsPerSecond, "refused")), "not measured"},
		{"virtual session met", virtualTarget(virtual(30)), "met"},
		{"virtual session missed", virtualTarget(virtual(31)), "NOT met"},
		{"virtual session unknown", virtualTarget(nil), "not measured"},
		{"no allocation", allocTarget(&allocResult{}), "met"},
		{"an allocation", allocTarget(&allocResult{Allocs: 1}), "NOT met"},
		{"allocations unknown", allocTarget(nil), "not measured"},
	}
	for _, tt := range tests {
		if got := tt.got.verdict(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseAllocs(t *testing.T) {
	const out = `goos: linux
BenchmarkWarmSimpleQuery/hit-2    	  100000	      1200 ns/op	       0 B/op	       0 allocs/op
BenchmarkWarmSimpleQuery/miss-2   	  100000	      1500.5 ns/op	 12 MB/s	      48 B/op	       2 allocs/op
PASS
`
	got, err := parseAllocs(out)
	if want := (allocResult{1500.5, 48, 2}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := parseAllocs("PASS\n"); err == nil {
		t.Error("no benchmark was taken for one")
	}
}

// exampleReport has one failed cell, so that every part of the reports is written.
func exampleReport() report {
	r := report{Seconds: 5, Rounds: 3, Versions: map[string]string{"postgresql": "15"}}
	for _, w := range quickRows() {
		x := rowResult{row: w, ID: w.id(), Cells: []cell{
			{Contender: direct, TPS: 1000},
			{Contender: pgpool2, TPS: 500, Failed: 3},
			{Contender: gopgpool, TPS: 900, CPU: 12, P50: 1500},
		}}
		x.relate()
		r.Rows = append(r.Rows, x)
	}
	held := crowd{Mode: transactionMode, Clients: 10, Prepared: true}
	r.Idle = []idleResult{{Contender: pgbouncer, crowd: held, Before: 1 << 20, After: 2 << 20}, {Contender: gopgpool, Error: "a < b"}}
	r.Connects = []connectResult{{Contender: pgbouncer, Error: "refused"}, {Contender: gopgpool, Rate: 2000, Slowest: 1500, P50: 7000}}
	r.Virtual = &virtualResult{Rows: []virtualShare{{Row: "ample/select/simple/16", Samples: 400, Inside: 10}}}
	r.Targets = targets(r)
	return r
}

func TestReport(t *testing.T) {
	r := exampleReport()
	dir := t.TempDir()
	if _, err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| -S -M simple | 16 | gopgpool | 900 | 0.90 | 12.0 | 1.50 |",
		"| -S -M simple | 16 | pgpool2 | failed |",
		"- three/select/extended/16 pgpool2: 3 failed transactions",
		"| one server, -S -C, 16 clients: TPS / direct | ≥ 8 | 0.90 | NOT met |",
		"| transaction mode, have run a prepared statement each | pgbouncer | 10 | 1.0 | 2.0 | 104857 | 0 |",
		"- connects pgbouncer: refused",
		"| gopgpool | 2000 | 1500 | 0.0 | 7.00 | 0.00 |",
		"| ample/select/simple/16 | 400 | 10 | 2.5 % |",
	} {
		if !strings.Contains(string(md), want) {
			t.Errorf("results.md lacks %q", want)
		}
	}
	js, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(js, &back); err != nil || !reflect.DeepEqual(back.Rows, r.Rows) {
		t.Errorf("results.json reads back as other rows (%v)", err)
	}
	if len(r.problems()) != len(r.Rows)+2 {
		t.Errorf("problems: %v", r.problems())
	}
}

func TestChart(t *testing.T) {
	svg := chart(exampleReport())
	bars := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	// The legend's four; in each row one for direct, two for gopgpool, none for the failed one.
	if want := 4 + 3*len(quickRows()); bars != want {
		t.Errorf("%d rectangles, want %d", bars, want)
	}
	if !strings.Contains(svg, "failed") {
		t.Error("the failed cell is not told")
	}
}

// One short row from end to end, and a few idle clients, without a proxy.
func TestDirectRow(t *testing.T) {
	if _, err := pgbenchPath(); err != nil {
		t.Skip("needs pgbench and a PostgreSQL server:", err)
	}
	opts, err := parseOptions([]string{"-contenders", "^direct$", "-seconds", "1", "-rounds", "1"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRunner(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := r.startStage(ctx, oneBackend)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	got := r.measureRow(ctx, s, row{Topology: oneBackend, Script: tpcb, Mode: simple, Clients: 2})
	if len(got.Cells) != 1 || !got.Cells[0].ok() || got.Cells[0].P50 <= 0 || got.Cells[0].Ratio != 1 {
		t.Errorf("got %+v", got)
	}
	checkHold(ctx, t, s.servers)
}

// checkHold runs the child's part here: the clients are there when it says so, and gone after its input ended.
func checkHold(ctx context.Context, t *testing.T, servers *pgcluster.Cluster) {
	t.Helper()
	input, ends := io.Pipe()
	answers, out := io.Pipe()
	done := make(chan error, 1)
	const clients = 12
	go func() { done <- hold(ctx, servers.Nodes[0].Port, crowd{Clients: clients, Prepared: true}, input, out) }()
	line := make([]byte, len(holderReady)+1)
	if _, err := io.ReadFull(answers, line); err != nil || string(line) != holderReady+"\n" {
		t.Fatalf("it said %q (%v)", line, err)
	}
	n := ""
	err := pgcluster.Poll(ctx, "the servers of clients that left before have gone, too", func() (_ bool, err error) {
		n, err = servers.Nodes[0].Value(ctx, "SELECT count(*)::text FROM pg_stat_activity WHERE usename = $1", userName)
		return n == strconv.Itoa(clients), err
	})
	if err != nil {
		t.Errorf("%s clients are logged in (%v), want %d", n, err, clients)
	}
	_ = ends.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
