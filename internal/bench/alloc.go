package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// warmBenchmark names the Go benchmark of a statement on the warm simple-query path, wherever it lives below proxy.
const warmBenchmark = "^BenchmarkWarmSimpleQuery$"

// allocResult is what the Go benchmark of the warm path says. Allocs and Bytes are per statement.
type allocResult struct {
	Nanoseconds float64 `json:"ns_per_statement"`
	Bytes       int64   `json:"bytes_per_statement"`
	Allocs      int64   `json:"allocations_per_statement"`
}

// measureAllocs runs the Go benchmark of the warm path; it works in the repository only.
func measureAllocs(ctx context.Context) (allocResult, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+warmBenchmark, "-benchmem", "./proxy/...")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return allocResult{}, fmt.Errorf("go test -bench: %w: %s", err, firstLines(string(out), 5))
	}
	return parseAllocs(string(out))
}

// parseAllocs reads the worst of the benchmark's lines (a benchmark may have several cases).
func parseAllocs(out string) (allocResult, error) {
	line := regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s+([0-9.]+) ns/op.*?\s(\d+) B/op\s+(\d+) allocs/op`)
	var worst allocResult
	found := false
	for _, m := range line.FindAllStringSubmatch(out, -1) {
		a, err := allocLine(m[1:])
		if err != nil {
			return allocResult{}, fmt.Errorf("%q: %w", strings.TrimSpace(m[0]), err)
		}
		if !found || a.Allocs > worst.Allocs {
			worst, found = a, true
		}
	}
	if !found {
		return allocResult{}, errors.New("no benchmark matches " + warmBenchmark)
	}
	return worst, nil
}

func allocLine(fields []string) (a allocResult, err error) {
	if a.Nanoseconds, err = strconv.ParseFloat(fields[0], 64); err != nil {
		return a, err
	}
	if a.Bytes, err = strconv.ParseInt(fields[1], 10, 64); err != nil {
		return a, err
	}
	a.Allocs, err = strconv.ParseInt(fields[2], 10, 64)
	return a, err
}
