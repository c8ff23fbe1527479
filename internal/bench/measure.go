package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is what one run of pgbench gave.
type sample struct {
	tps          float64
	transactions int64
	failed       int64
	cpu          time.Duration // of the proxy's processes; 0 without a proxy
	memory       int64         // bytes, of the proxy's processes; 0 when not looked at
	latencies    []int64       // microseconds, sorted; a sample of the transactions
}

// bench calls pgbench.
type bench struct {
	pgbench string // path of the program
	dir     string // where its latency logs go for a moment
	seconds int
	jobs    int
}

// measure runs one row against one contender. With memory it also reads the proxy's memory half-way.
func (b bench) measure(ctx context.Context, c *contender, r row, memory bool) (sample, error) {
	logDir, err := os.MkdirTemp(b.dir, "latency-")
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(logDir)

	before, err := c.cpu()
	if err != nil {
		return sample{}, err
	}
	memories := make(chan memoryReading, 1)
	if memory && c.proc != nil {
		go readMemoryAfter(ctx, time.Duration(b.seconds)*time.Second/2, c.proc.pid(), memories)
	} else {
		memories <- memoryReading{}
	}
	out, runErr := b.runPgbench(ctx, c.port, r, logDir)
	after, cpuErr := c.cpu()
	held := <-memories
	if err := errors.Join(runErr, cpuErr, held.err); err != nil {
		return sample{}, err
	}

	s, err := parsePgbench(out)
	if err != nil {
		return sample{}, err
	}
	s.cpu, s.memory = after-before, held.bytes
	s.latencies, err = readLatencies(logDir)
	return s, err
}

type memoryReading struct {
	bytes int64
	err   error
}

// readMemoryAfter reads a process tree's memory once, later, and sends exactly one reading.
func readMemoryAfter(ctx context.Context, after time.Duration, pid int, to chan<- memoryReading) {
	select {
	case <-time.After(after):
		u, err := usageOf(pid)
		to <- memoryReading{u.memory, err}
	case <-ctx.Done():
		to <- memoryReading{err: context.Cause(ctx)}
	}
}

// runPgbench returns what pgbench printed; an aborted client, an error or a run that does not end is an error.
func (b bench) runPgbench(ctx context.Context, port int, r row, logDir string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(b.seconds)*time.Second+time.Minute,
		errors.New("pgbench did not end in time"))
	defer cancel()
	args := append(r.pgbenchArgs(b.seconds, b.jobs),
		"--log-prefix="+filepath.Join(logDir, "log"), databaseName)
	cmd := exec.CommandContext(ctx, b.pgbench, args...)
	cmd.Env = clientEnv(port)
	var out, problems strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("pgbench: %w: %s", cmp.Or(context.Cause(ctx), err), firstLines(problems.String(), 3))
	}
	return out.String(), nil
}

// clientEnv tells libpq where to go and nothing else: the same way for every contender, without the round trips that ask
// for encryption.
func clientEnv(port int) []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "PG") })
	return append(
		env,
		"PGHOST="+loopback, fmt.Sprintf("PGPORT=%d", port), "PGUSER="+userName, "PGDATABASE="+databaseName,
		"PGSSLMODE=disable", "PGGSSENCMODE=disable", "PGPASSFILE=/nonexistent", // a file that is there and none in fact is warned of
	)
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(strings.TrimSpace(text), "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], " | ")
}

// The lines of pgbench's report we read.
type pgbenchLines struct{ tps, done, failed *regexp.Regexp }

func reportLines() pgbenchLines {
	return pgbenchLines{
		tps:    regexp.MustCompile(`(?m)^tps = ([0-9.]+)`),
		done:   regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`),
		failed: regexp.MustCompile(`(?m)^number of failed transactions: ([0-9]+)`),
	}
}

// parsePgbench reads pgbench's report.
func parsePgbench(out string) (sample, error) {
	lines := reportLines()
	done, err := reportNumber(lines.done, out)
	if err != nil {
		return sample{}, err
	}
	if done == 0 { // in which case it states no rate
		return sample{}, errors.New("pgbench processed no transaction")
	}
	tps, err := reportNumber(lines.tps, out)
	if err != nil {
		return sample{}, err
	}
	s := sample{tps: tps, transactions: int64(done)}
	if lines.failed.MatchString(out) { // pgbench has this line from PostgreSQL 15 on
		failed, err := reportNumber(lines.failed, out)
		if err != nil {
			return sample{}, err
		}
		s.failed = int64(failed)
	}
	return s, nil
}

func reportNumber(line *regexp.Regexp, out string) (float64, error) {
	m := line.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("pgbench's report has no line %q: %s", line, firstLines(out, 3))
	}
	return strconv.ParseFloat(m[1], 64)
}

// readLatencies reads the transaction logs of one run, in microseconds, sorted.
func readLatencies(dir string) ([]int64, error) {
	names, err := filepath.Glob(filepath.Join(dir, "log.*"))
	if err != nil {
		return nil, err
	}
	var all []int64
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		all, err = appendLatencies(all, f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.Sort(all)
	return all, nil
}

// appendLatencies reads one log: client, number, microseconds (or a word for a transaction that failed), ...
func appendLatencies(to []int64, log io.Reader) ([]int64, error) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			return nil, fmt.Errorf("log line %q is short", lines.Text())
		}
		if fields[2] == "failed" || fields[2] == "skipped" {
			continue
		}
		µs, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("log line %q: %w", lines.Text(), err)
		}
		to = append(to, µs)
	}
	return to, lines.Err()
}

// percentile is the smallest value that share of the sorted values do not exceed; 0 for none.
func percentile(sorted []int64, share float64) int64 {
	if len(sorted) == 0 {
		return 0
	}
	i := int(share*float64(len(sorted))+0.9999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// median of values, the mean of the middle two for an even number; 0 for none.
func median[N int64 | float64](values []N) N {
	if len(values) == 0 {
		return 0
	}
	v := slices.Clone(values)
	slices.Sort(v)
	m := len(v) / 2
	if len(v)%2 == 1 {
		return v[m]
	}
	return (v[m-1] + v[m]) / 2
}

// sumUp sums up the runs of one contender in one row.
func sumUp(name string, runs []sample, problems []error) cell {
	c := cell{Contender: name}
	var tps, cpu []float64
	var p50, p95, p99 []int64
	for _, s := range runs {
		tps = append(tps, s.tps)
		cpu = append(cpu, float64(s.cpu.Microseconds())/float64(s.transactions))
		if len(s.latencies) > 0 {
			p50 = append(p50, percentile(s.latencies, 0.50))
			p95 = append(p95, percentile(s.latencies, 0.95))
			p99 = append(p99, percentile(s.latencies, 0.99))
		}
		c.Memory = max(c.Memory, s.memory)
		c.Transactions += s.transactions
		c.Failed += s.failed
	}
	c.Runs, c.TPS, c.CPU = tps, median(tps), median(cpu)
	c.P50, c.P95, c.P99 = median(p50), median(p95), median(p99)
	for _, err := range problems {
		c.Errors = append(c.Errors, err.Error())
	}
	return c
}
