package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"gopgpool/internal/pgcluster"
)

// targets says which nodes a row of the matrix loses.
type targets uint8

const (
	oneStandby targets = iota
	thePrimary
	bothStandbys
	primaryAndStandby
	everyNode
)

var targetNames = [...]string{"a standby", "the primary", "both standbys", "the primary and a standby", "every node"}

func (t targets) String() string { return targetNames[t] }

// among picks the nodes.
func (t targets) among(all []*pgcluster.Node, primary *pgcluster.Node) []*pgcluster.Node {
	standbys := slices.DeleteFunc(slices.Clone(all), func(n *pgcluster.Node) bool { return n == primary })
	switch t {
	case oneStandby:
		return standbys[1:]
	case thePrimary:
		return []*pgcluster.Node{primary}
	case bothStandbys:
		return standbys
	case primaryAndStandby:
		return []*pgcluster.Node{primary, standbys[0]}
	case everyNode:
		return slices.Clone(all)
	}
	panic("ha: no such targets: " + fmt.Sprint(uint8(t)))
}

func (t targets) primary() bool { return t == thePrimary || t == primaryAndStandby || t == everyNode }

// faultRow is one row of the matrix.
type faultRow struct {
	what faultKind
	whom targets
	// within is the time in which every client works again (or, where no node is left, is told so).
	within time.Duration
}

// stays tells whether the nodes go on serving, so that pgpool keeps them: a standby whose disk is full cannot receive, but answers.
func (f faultRow) stays() bool { return f.what == fillDisk && f.whom == oneStandby }

func (f faultRow) name() string { return f.what.String() + ", " + f.whom.String() }

// matrix is every row. What answers with a reset is noticed at once; what is silent after health_check_period and
// health_check_timeout, 1 and 2 s here.
func matrix() []faultRow {
	const quick, silent = 4 * time.Second, 8 * time.Second
	return []faultRow{
		{killAll, oneStandby, quick},
		{killAll, thePrimary, quick},
		{killFirst, oneStandby, quick},
		{killFirst, thePrimary, quick},
		{freezeAll, oneStandby, silent},
		{freezeAll, thePrimary, silent},
		{freezeFirst, oneStandby, silent},
		{freezeFirst, thePrimary, silent},
		{stopFast, oneStandby, quick},
		{stopFast, thePrimary, quick},
		{stopImmediate, oneStandby, quick},
		{stopImmediate, thePrimary, quick},
		{killAll, bothStandbys, quick},
		{killAll, primaryAndStandby, silent},
		{killAll, everyNode, silent},
		{cutNet, oneStandby, quick},
		{cutNet, thePrimary, quick},
		{fillDisk, oneStandby, silent},
		{fillDisk, thePrimary, 15 * time.Second}, // it tries to recover by itself first
	}
}

// matrixRun does every wanted row once. Rows with a full disk need a small one and root.
func matrixRun(ctx context.Context, o options) (_ runResult, err error) {
	o.clients, o.idlers = min(o.clients, 16), min(o.idlers, 4)
	c, err := newCampaign(ctx, o, "matrix", staging{
		// Small segments, so that a small disk is filled soon.
		InitdbArgs: []string{"--no-locale", "-E", "UTF8", "--wal-segsize=1"},
		Servers:    map[string]string{"wal_keep_size": "16MB", "min_wal_size": "2MB", "max_wal_size": "32MB"},
	})
	if err != nil {
		return runResult{}, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	for i, row := range matrix() {
		if !o.rows.MatchString(row.name()) {
			continue
		}
		if why := impossible(row, o); why != "" {
			c.stage.notes = append(c.stage.notes, row.name()+" was left out: "+why)
			continue
		}
		if err := c.row(ctx, i, row); err != nil {
			return c.result, fmt.Errorf("%s: %w", row.name(), err)
		}
	}
	return c.conclude(ctx)
}

func impossible(row faultRow, o options) string {
	switch {
	case row.what == fillDisk && !o.inside:
		return "a small disk is mounted by root alone"
	case row.what == cutNet && !o.inside:
		return "the network is cut in a namespace, by root alone"
	case row.what == cutNet:
		if _, err := exec.LookPath("ip"); err != nil {
			return err.Error()
		}
	}
	return ""
}

func (c *campaign) row(ctx context.Context, number int, row faultRow) error {
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	nodes := row.whom.among(c.cluster.Nodes, primary)
	if row.what == fillDisk {
		err := c.withoutPool(ctx, primary, func() error { return c.moveToSmallDisk(ctx, nodes[0], smallDisk) })
		if err != nil {
			return err
		}
	}
	return c.round(ctx, number, loss{
		what: row.what, nodes: nodes, primary: row.whom.primary(), all: row.whom == everyNode, within: row.within, look: true,
		stays: row.stays(),
	})
}

// smallDisk is enough for what stays there, and little enough to be filled at once.
const smallDisk = 48 << 20

// moveToSmallDisk stops a node, moves its write-ahead log and starts it.
func (c *campaign) moveToSmallDisk(ctx context.Context, n *pgcluster.Node, bytes int) error {
	if err := n.Stop(ctx, pgcluster.Fast); err != nil {
		return err
	}
	if err := shrinkDisk(n, bytes); err != nil {
		return err
	}
	c.disks[n.ID] = true
	return n.Start(ctx)
}

// lookAt notes what pgpool shows after the harm and holds it against what was lost.
func (c *campaign) lookAt(ctx context.Context, l loss, r *roundResult) error {
	if l.all {
		return nil // nobody is let in to ask
	}
	nodes, err := c.nodes(ctx)
	if err != nil {
		r.complain(complaint{"pool_nodes is shown", oneLine(err)})
		return nil
	}
	r.Seen = nodes
	for id, n := range nodes {
		if lost := slices.Contains(r.Nodes, id) && !l.stays; lost == n.live() {
			r.complain(complaint{"pool_nodes shows what is lost", fmt.Sprintf("node %d is %s, lost: %t", id, n.Status, lost)})
		}
	}
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	for id, n := range nodes {
		if (n.Role == "primary") != (id == primary.ID) && !slices.Contains(r.Nodes, primary.ID) {
			r.complain(complaint{"pool_nodes shows the primary", fmt.Sprintf("node %d is shown as %s", id, n.Role)})
		}
	}
	return nil
}

// reviveAll starts every node again, the former primary first, and pgpool anew: it has nothing left to attach to.
func (c *campaign) reviveAll(ctx context.Context, nodes []*pgcluster.Node) error {
	for _, n := range nodes {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies directories and files with their owners and modes.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		target := filepath.Join(to, path[len(from):])
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			err = os.Mkdir(target, info.Mode().Perm())
		} else {
			err = copyFile(path, target, info.Mode().Perm())
		}
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		return os.Chown(target, int(owner.Uid), int(owner.Gid))
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, mode)
}
