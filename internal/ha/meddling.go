package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// This file is about what goes on beside the clients while a row is performed: somebody who writes to a server directly, past pgpool, and
// somebody who kills what pgpool has begun.

// intruders is the first client number of those who write directly; a row of theirs may not be there at the end.
const intruders = 9000

// intruder writes to a server directly until it is ended, one row every few milliseconds.
type intruder struct {
	stop  chan struct{}
	ended sync.WaitGroup
	once  sync.Once
	count atomic.Int64 // rows that were taken
}

// intrude begins to write to a server. Words are added to its connection string.
func (t *trial) intrude(n *pgcluster.Node, words ...string) *intruder {
	in := &intruder{stop: make(chan struct{})}
	dsn := n.ConnString(append(words, "connect_timeout=1", "application_name=intruder")...)
	number := intruders + t.result.nextIntruder()
	in.ended.Go(func() { in.run(dsn, number) })
	t.bystanders = append(t.bystanders, func() { in.end() })
	return in
}

func (in *intruder) run(dsn string, number int) {
	for seq := 1; ; seq++ {
		select {
		case <-in.stop:
			return
		case <-time.After(10 * time.Millisecond):
		}
		if writeOnce(dsn, fmt.Sprintf("%s (client, seq) VALUES (%d, %d)", writes, number, seq)) == nil {
			in.count.Add(1)
		}
	}
}

// writeOnce writes on a connection of its own: one that is kept would not see who listens at the port.
func writeOnce(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := pgconn.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql).ReadAll()
	_ = conn.Close(ctx) // the answer is there
	return err
}

// end ends it and returns how many rows were taken.
func (in *intruder) end() int {
	in.once.Do(func() { close(in.stop) })
	in.ended.Wait()
	return int(in.count.Load())
}

// nextIntruder numbers the intruders of a run.
func (r *runResult) nextIntruder() int {
	r.intruders++
	return r.intruders
}

// interruption kills the first process of a program that works on a server's data directory, and watches what comes of it.
type interruption struct {
	program string
	node    *pgcluster.Node
	stop    chan struct{}
	ended   sync.WaitGroup

	// What follows is read after ended.
	killed  bool
	rebuilt bool // a pg_basebackup came after that
	broken  bool // the server ran between
}

// interrupt begins to look for the program.
func (t *trial) interrupt(program string, n *pgcluster.Node) *interruption {
	w := &interruption{program: program, node: n, stop: make(chan struct{})}
	w.ended.Go(w.run)
	var once sync.Once
	t.bystanders = append(t.bystanders, func() {
		once.Do(func() { close(w.stop) })
		w.ended.Wait()
	})
	return w
}

func (w *interruption) run() {
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	victim := 0
	for {
		select {
		case <-w.stop:
			return
		case <-pause.C:
		}
		switch {
		case !w.killed:
			if pids := working(w.program, w.node.DataDir); len(pids) > 0 {
				victim, w.killed = pids[0], syscall.Kill(pids[0], syscall.SIGKILL) == nil
			}
		case slices.ContainsFunc(working("pg_basebackup", w.node.DataDir), func(pid int) bool { return pid != victim }):
			w.rebuilt = true
			return
		case w.node.Running():
			w.broken = true
			return
		}
	}
}

// judge complains. The watch has ended.
func (w *interruption) judge(t *trial) {
	rule := "an interrupted " + w.program + " is made good by a base backup"
	switch {
	case !w.killed:
		t.complain("the row shows what it is meant to", "there was no %s", w.program)
	case w.broken:
		t.complain(rule, "the server was started as it was")
	case !w.rebuilt:
		t.complain(rule, "there was none")
	}
}

// working are the processes of a program that have a data directory, or what lies beside it under its name, among their arguments. One that
// only tries what it would do does not count.
func working(program, dir string) []int {
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the only error is a bad pattern
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // gone meanwhile
		}
		args := strings.Split(string(text), "\x00")
		if filepath.Base(args[0]) != program || !strings.Contains(string(text), dir) || slices.Contains(args, "--dry-run") {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
