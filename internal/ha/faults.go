package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"gopgpool/internal/pgcluster"
)

// faultKind is a way of losing a server.
type faultKind uint8

const (
	killAll     faultKind = iota // SIGKILL to all processes
	killFirst                    // SIGKILL to the postmaster alone
	freezeAll                    // SIGSTOP to all processes
	freezeFirst                  // SIGSTOP to the postmaster alone: sessions go on, nobody can log in
	stopFast
	stopImmediate
	fillDisk // of the write-ahead log
	cutNet
)

var faultNames = [...]string{
	killAll: "SIGKILL of all processes", killFirst: "SIGKILL of the postmaster", freezeAll: "SIGSTOP of all processes",
	freezeFirst: "SIGSTOP of the postmaster", stopFast: "fast stop", stopImmediate: "immediate stop", fillDisk: "full disk",
	cutNet: "network cut",
}

func (k faultKind) String() string { return faultNames[k] }

// inflicted is harm done.
type inflicted struct {
	at   time.Time
	undo func(context.Context) error // makes repair possible
}

// inflict does the harm. Nodes that are lost together are lost at one time.
func (c *campaign) inflict(ctx context.Context, l loss) (inflicted, error) {
	done := inflicted{at: time.Now(), undo: func(context.Context) error { return nil }}
	var undos []func(context.Context) error
	errs := make([]error, len(l.nodes))
	ended := make(chan struct{})
	for i, n := range l.nodes {
		undo, act := c.harm(l.what, n)
		undos = append(undos, undo)
		go func() {
			errs[i] = act(ctx)
			ended <- struct{}{}
		}()
	}
	for range l.nodes {
		<-ended
	}
	done.undo = func(ctx context.Context) error {
		var errs []error
		for _, undo := range undos {
			errs = append(errs, undo(ctx))
		}
		return errors.Join(errs...)
	}
	if err := errors.Join(errs...); err != nil || l.what != fillDisk || l.stays {
		return done, err
	}
	at, err := c.awaitPanic(ctx, l.nodes[0], done.at)
	done.at = at
	return done, err
}

// awaitPanic has a server whose disk is full write until it gives up, and tells when that was.
func (c *campaign) awaitPanic(ctx context.Context, n *pgcluster.Node, since time.Time) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	err = pgcluster.Poll(ctx, n.Name+" panics", func() (bool, error) {
		_ = n.Exec(ctx, "SELECT pg_switch_wal()") // uses a segment up; the one that fails is what is wanted
		logs, err := c.serverLogs()
		if err != nil {
			return false, err
		}
		for _, t := range logs[n.ID].Panics {
			if t.After(since) {
				at = t
				return true, nil
			}
		}
		return false, nil
	})
	return at, err
}

// harm says how to lose a node, and how to undo what would be in the way of its repair.
func (c *campaign) harm(what faultKind, n *pgcluster.Node) (undo, act func(context.Context) error) {
	undo = func(context.Context) error { return nil }
	switch what {
	case killAll, killFirst:
		return c.killed(what, n)
	case freezeAll, freezeFirst:
		return c.frozen(what, n)
	case stopFast, stopImmediate:
		mode := map[faultKind]pgcluster.StopMode{stopFast: pgcluster.Fast, stopImmediate: pgcluster.Immediate}[what]
		return undo, func(ctx context.Context) error { return n.Stop(ctx, mode) }
	case fillDisk:
		undo = func(ctx context.Context) error {
			return errors.Join(n.Stop(ctx, pgcluster.Immediate), n.Sweep(ctx), c.removeDisk(n))
		}
		return undo, func(context.Context) error { return fill(walDir(n)) }
	case cutNet:
		return c.cut(n)
	}
	panic("ha: no such fault: " + fmt.Sprint(what))
}

// killed loses a node by SIGKILL.
func (c *campaign) killed(what faultKind, n *pgcluster.Node) (undo, act func(context.Context) error) {
	undo = func(context.Context) error { return nil }
	switch {
	case c.unaided() && what == killAll:
		return undo, func(ctx context.Context) error { return losing(ctx, n) }
	case c.unaided():
		return undo, func(ctx context.Context) error { return losingFirst(ctx, n) }
	case what == killAll:
		return undo, n.Kill
	}
	return n.Sweep, n.KillFirst
}

// thaw is how long a thawed server is given to run what lay in its sockets, before it is stopped.
const thaw = 500 * time.Millisecond

// cut loses the network of a node. Mended, the node goes on for a moment, as a thawed one does: what was on its way arrives.
func (c *campaign) cut(n *pgcluster.Node) (undo, act func(context.Context) error) {
	from := time.Now()
	undo = func(ctx context.Context) error {
		c.freezes = append(c.freezes, freeze{n.ID, from, time.Now()})
		return errors.Join(mend(ctx, n), wait(ctx, thaw), n.Stop(ctx, pgcluster.Immediate))
	}
	return undo, func(ctx context.Context) error { return cutOff(ctx, n) }
}

// frozen stops a node with SIGSTOP; thawed, it goes on for a moment, so that what lay in its sockets shows in its log.
func (c *campaign) frozen(what faultKind, n *pgcluster.Node) (undo, act func(context.Context) error) {
	from := time.Now()
	act = func(context.Context) error {
		if what == freezeFirst {
			return syscall.Kill(n.Pids()[0], syscall.SIGSTOP)
		}
		return n.Pause()
	}
	undo = func(ctx context.Context) error {
		to := time.Now()
		if err := n.Resume(); err != nil {
			return err
		}
		if what == freezeAll {
			c.freezes = append(c.freezes, freeze{n.ID, from, to})
		}
		if err := wait(ctx, thaw); err != nil {
			return err
		}
		return n.Stop(ctx, pgcluster.Immediate) // there must not be two primaries, nor may repair take the wrong one
	}
	return undo, act
}

func walDir(n *pgcluster.Node) string { return n.DataDir + "/pg_wal" }

// shrinkDisk puts a node's write-ahead log, which is in DataDir/pg_wal, on a disk of its own of some bytes. The node does not run.
func shrinkDisk(n *pgcluster.Node, bytes int) error {
	aside := walDir(n) + ".aside"
	if err := os.Rename(walDir(n), aside); err != nil {
		return err
	}
	info, err := os.Stat(aside)
	if err != nil {
		return err
	}
	if err := os.Mkdir(walDir(n), 0o700); err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("no owner of pg_wal")
	}
	how := fmt.Sprintf("size=%d,mode=700,uid=%d,gid=%d", bytes, owner.Uid, owner.Gid)
	if err := syscall.Mount("ha", walDir(n), "tmpfs", 0, how); err != nil {
		return fmt.Errorf("small disk: %w", err)
	}
	return errors.Join(copyTree(aside, walDir(n)), os.RemoveAll(aside))
}

// removeDisk takes a node's small disk away, if it has one. What was on it is lost.
func (c *campaign) removeDisk(n *pgcluster.Node) error {
	if !c.disks[n.ID] {
		return nil
	}
	delete(c.disks, n.ID)
	return syscall.Unmount(walDir(n), syscall.MNT_DETACH)
}

// fill leaves no byte on a disk.
func fill(dir string) error {
	f, err := os.Create(dir + "/filler")
	if err != nil {
		return err
	}
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if closing := f.Close(); closing != nil {
		return closing
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}
