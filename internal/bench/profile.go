package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// profileRow runs one row against the pgpool under test alone while perf records it, then shows the heaviest functions.
//
//	bin/bench -profile one/select/simple/16 -seconds 10
//	perf report -i /tmp/gopgpool-perf.data --no-children            who burns the time
//	perf report -i /tmp/gopgpool-perf.data --children -g caller     with callers
//	perf report -i /tmp/gopgpool-perf.data --sort dso               kernel, program, C parser
//	perf annotate -i /tmp/gopgpool-perf.data FUNCTION
//	go tool pprof -http=: bin/pgpool FILE      after perf_to_profile -i /tmp/gopgpool-perf.data -o FILE
func (r *runner) profileRow(ctx context.Context) error {
	w, err := rowNamed(r.opts.profile)
	if err != nil {
		return err
	}
	perf, err := exec.LookPath("perf")
	if err != nil {
		fmt.Println("no profile: perf is not installed (Debian: apt-get install linux-perf)")
		return nil
	}
	s, err := r.startProfiled(ctx, w.Topology)
	if err != nil {
		return err
	}
	defer s.close()
	r.warm(ctx, s, w.Topology)
	got, err := r.recordRow(ctx, perf, s, w, r.opts.profileOut)
	if err != nil {
		return err
	}
	c := sumUp(gopgpool, []sample{got}, nil)
	fmt.Printf("%s: %.0f tps, %.1f µs cpu per transaction (perf costs some)\n", w.id(), c.TPS, c.CPU)
	return showRecording(ctx, perf, r.opts.profileOut)
}

// recordRow runs a row against the stage's first contender, recorded into the file out.
func (r *runner) recordRow(ctx context.Context, perf string, s *stage, w row, out string) (sample, error) {
	record, err := startRecording(perf, r.dir, out, s.contenders[0].proc.pid())
	if err != nil {
		return sample{}, err
	}
	got, err := r.measureOnce(ctx, s, 0, w, false)
	record.stop(syscall.SIGINT, 20*time.Second) // which makes it write the file
	return got, err
}

// rowNamed finds a row by its id.
func rowNamed(id string) (row, error) {
	for _, w := range allRows() {
		if w.id() == id {
			return w, nil
		}
	}
	return row{}, fmt.Errorf("no row %q; rows are named like %s", id, allRows()[1].id())
}

// startProfiled is startStage with the one contender.
func (r *runner) startProfiled(ctx context.Context, t topology) (*stage, error) {
	servers, err := startServers(ctx, t.servers(), serverSettings())
	if err != nil {
		return nil, err
	}
	s := &stage{servers: servers}
	err = fill(ctx, servers, r.pgbench)
	if err == nil {
		var c *contender
		c, err = r.startContender(ctx, r.places(filepath.Join(r.dir, string(t)), ports(servers)), t.subject(), t.capacity())
		s.contenders = append(s.contenders, c)
	}
	if err != nil {
		s.contenders = nil
		s.close()
		return nil, err
	}
	return s, nil
}

// startRecording attaches perf to a process, its descendants and all their threads. The clock event works in virtual machines, which often
// have no hardware counters.
func startRecording(perf, dir, out string, pid int) (*process, error) {
	if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	procs, err := tree(pid)
	if err != nil {
		return nil, err
	}
	var pids []string
	for _, p := range procs {
		pids = append(pids, strconv.Itoa(p.pid))
	}
	return startProcess("perf", dir, account{}, syscall.SIGINT,
		perf, "record", "-e", "cpu-clock", "-F", "1999", "-g", "-o", out, "-p", strings.Join(pids, ","))
}

// showRecording prints the functions that took the most time themselves.
func showRecording(ctx context.Context, perf, file string) error {
	cmd := exec.CommandContext(ctx, perf, "report", "-i", file, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.7",
		"--sort", "symbol")
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("perf report: %w", err)
	}
	fmt.Printf("more: perf report -i %s --children -g caller\n", file)
	return nil
}
