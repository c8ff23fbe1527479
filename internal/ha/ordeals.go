package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"gopgpool/internal/pgcluster"
)

// ordeals are the rows, in order.
func ordeals() []ordeal {
	return []ordeal{
		{name: "the primary is killed", do: loseOne(killAll)},
		{name: "the primary is frozen, and thawed after the promotion", do: freezeAndThaw},
		{name: "the primary's disk for WAL is full", stage: "disk", root: true, prepare: smallDiskOfPrimary, do: fillAndFree},
		{name: "the old primary has diverged", root: true, do: diverge},
		{name: "a rewind is interrupted", do: interruptRewind},
		{name: "a base backup is interrupted", do: interruptBackup},
		{name: "the primary and a standby are killed at once", do: loseTwo},
		{name: "a standby streams from a standby, which is killed", prepare: cascade, do: loseUpstream},
		{name: "a standby streams from a standby, and the primary is killed", prepare: cascade, do: loseOne(killAll)},
		{name: "switchover: the target is killed while transactions end", do: killInSwitchover(whileDraining, theTarget)},
		{name: "switchover: the old primary is killed while transactions end", do: killInSwitchover(whileDraining, theOldPrimary)},
		{name: "switchover: the target is killed while the old primary stops", do: killInSwitchover(whileStopping, theTarget)},
		{name: "switchover: the old primary is killed while it stops", do: killInSwitchover(whileStopping, theOldPrimary)},
		{name: "switchover: the target is killed when it has just been promoted", do: killInSwitchover(whenPromoted, theTarget)},
		{name: "pgpool is killed in the middle of a failover", do: killPool},
		{name: "replication slots", stage: "slots", do: slots},
		{name: "the password of the recovery user is wrong", stage: "password", do: wrongPassword},
	}
}

// ofPrimary is the loss of the primary.
func (t *trial) ofPrimary(what faultKind) loss {
	return loss{what: what, nodes: []*pgcluster.Node{t.primary}, primary: true}
}

func loseOne(what faultKind) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error { return t.lose(ctx, t.ofPrimary(what)) }
}

func loseTwo(ctx context.Context, t *trial) error {
	return t.lose(ctx, loss{what: killAll, nodes: []*pgcluster.Node{t.primary, t.standbys[0]}, primary: true})
}

// freezeAndThaw: on one host pgpool stops what is frozen too, so that there is nothing to thaw. Whether or not it does, the old primary may
// not take a write any more, not even one that comes directly.
func freezeAndThaw(ctx context.Context, t *trial) error {
	before := t.primary.Pids()
	l := t.ofPrimary(freezeAll)
	t.harmed(l)
	if err := t.primary.Pause(); err != nil {
		return err
	}
	if err := t.awaitWorkers(ctx, t.fleet, t.workers()); err != nil {
		t.complain("a frozen primary is replaced", "%v", err)
	}
	if left := alive(before, t.primary.DataDir); len(left) > 0 {
		t.complain("a frozen primary has been stopped before another one is promoted", "processes %v are there", left)
	}
	t.freezes = append(t.freezes, freeze{t.primary.ID, t.r.At, time.Now()})
	for _, pid := range alive(before, t.primary.DataDir) {
		_ = syscall.Kill(pid, syscall.SIGCONT) // gone meanwhile
	}
	in := t.intrude(t.primary)
	t.later(func(bool) {
		if n := in.end(); n > 0 {
			t.complain("the old primary takes no write after the thaw", "it took %d directly", n)
		}
	})
	return nil
}

// alive are the processes of a set that still work in a directory.
func alive(pids []int, dir string) []int {
	var left []int
	for _, pid := range pids {
		if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && cwd == dir {
			left = append(left, pid)
		}
	}
	return left
}

// roomy is enough for the WAL that the rows of this run keep.
const roomy = 256 << 20

func smallDiskOfPrimary(ctx context.Context, c *campaign, primary *pgcluster.Node) error {
	return c.withoutPool(ctx, primary, func() error { return c.moveToSmallDisk(ctx, primary, roomy) })
}

// fillAndFree has the primary run out of disk, and gives it room again once another one has taken over.
func fillAndFree(ctx context.Context, t *trial) error {
	l := t.ofPrimary(fillDisk)
	t.harmed(l)
	done, err := t.inflict(ctx, l)
	if err != nil {
		return err
	}
	t.r.At = done.at
	if err := t.awaitWorkers(ctx, t.fleet, t.workers()); err != nil {
		t.complain("a primary without room is replaced", "%v", err)
	}
	return os.Remove(walDir(t.primary) + "/filler")
}

// diverge cuts the primary from everybody and has it written to directly until another one has taken over.
func diverge(ctx context.Context, t *trial) error {
	same := inode(t.primary)
	if err := t.lose(ctx, t.ofPrimary(cutNet)); err != nil {
		return err
	}
	in := t.intrude(t.primary, "host="+t.cluster.SocketDir)
	err := t.awaitWorkers(ctx, t.fleet, t.workers())
	if err != nil {
		t.complain("a primary that is cut off is replaced", "%v", err)
	}
	if n := in.end(); n == 0 {
		t.complain("the row shows what it is meant to", "nothing was written directly")
	}
	t.freezes = append(t.freezes, freeze{t.primary.ID, t.r.At, time.Now()})
	t.later(func(whole bool) {
		if whole && inode(t.primary) != same {
			t.complain("a diverged old primary is rewound", "it was rebuilt")
		}
	})
	return mend(ctx, t.primary)
}

// inode tells a rewound data directory, in which files are overwritten, from a rebuilt one.
func inode(n *pgcluster.Node) uint64 {
	var s syscall.Stat_t
	if err := syscall.Stat(n.DataDir+"/PG_VERSION", &s); err != nil {
		return 0
	}
	return s.Ino
}

// loseDiverged kills the primary after it has written what its standbys did not get.
func (t *trial) loseDiverged(ctx context.Context) error {
	for _, pid := range t.primary.Pids() {
		title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.Contains(string(title), ": walsender") {
			_ = syscall.Kill(pid, syscall.SIGSTOP) // gone meanwhile
		}
	}
	in := t.intrude(t.primary)
	if err := wait(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if in.end() == 0 {
		t.complain("the row shows what it is meant to", "nothing was written directly")
	}
	return t.lose(ctx, t.ofPrimary(killAll))
}

// interruptRewind kills the first pg_rewind of the old primary.
func interruptRewind(ctx context.Context, t *trial) error {
	w := t.interrupt("pg_rewind", t.primary)
	t.later(func(bool) { w.judge(t) })
	return t.loseDiverged(ctx)
}

// interruptBackup makes a rewind impossible by removing the old primary's WAL, and kills the first pg_basebackup.
func interruptBackup(ctx context.Context, t *trial) error {
	w := t.interrupt("pg_basebackup", t.primary)
	t.later(func(bool) { w.judge(t) })
	if err := t.loseDiverged(ctx); err != nil {
		return err
	}
	return removeWAL(t.primary)
}

func removeWAL(n *pgcluster.Node) error {
	entries, err := os.ReadDir(walDir(n))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := os.Remove(walDir(n) + "/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// cascade has the second standby stream from the first.
func cascade(ctx context.Context, c *campaign, primary *pgcluster.Node) error {
	standbys := c.standbysOf(primary)
	up, down := standbys[0], standbys[1]
	info := fmt.Sprintf("host=%s port=%d user=postgres application_name=%s", up.Host, up.Port, down.Name)
	if err := down.Exec(ctx, fmt.Sprintf("ALTER SYSTEM SET primary_conninfo = '%s'", info)); err != nil {
		return err
	}
	if err := down.Reload(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := down.WaitStreaming(ctx, up)
	if err != nil {
		c.stage.notes = append(c.stage.notes, "no cascade: "+oneLine(err))
		return nil //nolint:nilerr // pgpool may have it stream from the primary again at once, which is no breach
	}
	return nil
}

func loseUpstream(ctx context.Context, t *trial) error {
	return t.lose(ctx, loss{what: killAll, nodes: t.standbys[:1]})
}

// killPool kills pgpool when it has begun to fail over, and starts it again. What clients feel is not judged: all of them are cut.
func killPool(ctx context.Context, t *trial) error {
	begun := t.awaitLog("=== Starting degeneration")
	l := t.ofPrimary(killAll)
	l.restart = true
	if err := t.lose(ctx, l); err != nil {
		return err
	}
	if err := begun(ctx); err != nil {
		return err
	}
	if _, err := t.pool.Stop(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	t.pool.SetArgs() // it goes on from what it has kept
	defer t.pool.SetArgs(afresh)
	return t.pool.Start(ctx)
}

// slots are followed by their standbys, and none is left behind: it would keep WAL for nobody.
func slots(ctx context.Context, t *trial) error {
	t.later(func(whole bool) {
		if !whole {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := t.slotsInOrder(ctx); err != nil {
			t.complain("each standby has its slot at the primary, and no other slot is left", "%s", oneLine(err))
		}
	})
	return t.lose(ctx, t.ofPrimary(killAll))
}

func (t *trial) slotsInOrder(ctx context.Context) error {
	primary, err := t.campaign.primary(ctx)
	if err != nil {
		return err
	}
	const sql = "SELECT count(*) FILTER (WHERE active) || ' active, ' || count(*) FILTER (WHERE NOT active) || ' not' FROM pg_replication_slots"
	last := ""
	err = pgcluster.Poll(ctx, "slots", func() (bool, error) {
		last = ""
		ok := true
		for _, n := range t.cluster.Nodes {
			want := "0 active, 0 not"
			if n == primary {
				want = fmt.Sprintf("%d active, 0 not", len(t.standbys))
			}
			seen, err := n.Value(ctx, sql)
			if err != nil {
				return false, err
			}
			ok = ok && seen == want
			last += fmt.Sprintf(" %s: %s;", n.Name, seen)
		}
		return ok, wait(ctx, 100*time.Millisecond)
	})
	if err != nil {
		return fmt.Errorf("%w:%s", err, last)
	}
	return nil
}

// wrongPassword has pgpool log in to servers with a wrong password when the primary is lost: nobody may be promoted, the log says why, and
// the right password helps without a restart.
func wrongPassword(ctx context.Context, t *trial) error {
	const untried = 5 * time.Second
	if err := t.reload(ctx, map[string]string{"recovery_password": "wrong"}); err != nil {
		return err
	}
	told := t.awaitLog("password authentication failed")
	if err := t.lose(ctx, t.ofPrimary(killAll)); err != nil {
		return err
	}
	until := time.Now().Add(untried)
	for time.Now().Before(until) {
		if n, err := t.campaign.primary(ctx); err == nil {
			t.complain("nobody is promoted by somebody who cannot log in", "%s is the primary", n.Name)
			break
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := told(soon); err != nil {
		t.complain("the log says why nobody is promoted", "%s", oneLine(err))
	}
	return t.reload(ctx, map[string]string{"recovery_password": t.how.Password})
}

// reload has pgpool read changed parameters.
func (t *trial) reload(ctx context.Context, conf map[string]string) error {
	if err := t.pool.Rewrite(conf); err != nil {
		return err
	}
	done := t.awaitLog("reload")
	if err := t.pool.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	return done(ctx)
}
