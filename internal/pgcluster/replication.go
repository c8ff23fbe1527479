package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// standbySignal is the file that makes a server a standby.
const standbySignal = "standby.signal"

// Rebuild replaces the node by a base backup of up, which must run, and starts it as its standby.
func (n *Node) Rebuild(ctx context.Context, up *Node) error {
	o := n.cluster.opts
	if n.Running() {
		return fmt.Errorf("%s runs", n.Name)
	}
	o.Progress(fmt.Sprintf("copying %s to %s", up.Name, n.DataDir))
	if err := os.RemoveAll(n.DataDir); err != nil {
		return err
	}
	args := []string{
		"-D", n.DataDir, "-h", up.Host, "-p", fmt.Sprint(up.Port), "-U", o.User,
		"-c", "fast", "-X", "stream", "--no-sync",
	}
	env := []string{"PGPASSWORD=" + o.Password}
	if err := n.cluster.spawner.complete(ctx, "pg_basebackup", env, n.cluster.program("pg_basebackup"), args...); err != nil {
		return err
	}
	if err := errors.Join(n.Configure(), n.writeStandby(ctx, up)); err != nil {
		return err
	}
	return n.Start(ctx)
}

// Rewind turns the data directory of a stopped or crashed node into one that can follow up, which must run, by pg_rewind, and starts it
// as its standby. Where that cannot be done (the log needed is gone) the directory is unchanged or unusable, and [Node.Rebuild] helps.
func (n *Node) Rewind(ctx context.Context, up *Node) error {
	if n.Running() {
		return fmt.Errorf("%s runs", n.Name)
	}
	n.cluster.opts.Progress(fmt.Sprintf("rewinding %s to %s", n.DataDir, up.Name))
	// A crash is recovered from in single-user mode first, which cannot be a standby.
	if err := os.Remove(filepath.Join(n.DataDir, standbySignal)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := up.Exec(ctx, "CHECKPOINT"); err != nil { // until then its control file names the timeline before its promotion
		return err
	}
	env := []string{"PGPASSWORD=" + n.cluster.opts.Password}
	args := []string{"-D", n.DataDir, "--source-server", up.ConnString(), "--no-sync"}
	if err := n.cluster.spawner.complete(ctx, "pg_rewind", env, n.cluster.program("pg_rewind"), args...); err != nil {
		return err
	}
	if err := errors.Join(n.Configure(), n.writeStandby(ctx, up)); err != nil { // its files are those of up now
		return err
	}
	return n.Start(ctx)
}

// IsStandby tells whether the node starts as a standby.
func (n *Node) IsStandby() bool {
	_, err := os.Stat(filepath.Join(n.DataDir, standbySignal))
	return err == nil
}

// Follow makes the node a standby of up from its next start on, or at once if it runs as a standby.
func (n *Node) Follow(ctx context.Context, up *Node) error {
	if err := n.writeStandby(ctx, up); err != nil {
		return err
	}
	if !n.Running() {
		return nil
	}
	return n.Reload()
}

func (n *Node) writeStandby(ctx context.Context, up *Node) error {
	if n.cluster.opts.Slots {
		const create = `SELECT pg_create_physical_replication_slot($1)
			WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`
		if err := up.Exec(ctx, create, n.Slot()); err != nil {
			return err
		}
	}
	return errors.Join(n.writeFile(recoveryConf, n.recoverySettings(up)), n.writeFile(standbySignal, ""))
}

// Promote makes a standby a primary and waits until it accepts writes.
func (n *Node) Promote(ctx context.Context) error {
	if err := n.Exec(ctx, "SELECT pg_promote(true, 60)"); err != nil {
		return err
	}
	return Poll(ctx, n.Name+" accepts writes", func() (bool, error) {
		answer, err := n.Value(ctx, "SELECT pg_is_in_recovery()")
		return answer == "f", err
	})
}

// WaitStreaming waits until the node receives WAL from up.
func (n *Node) WaitStreaming(ctx context.Context, up *Node) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return Poll(ctx, n.Name+" streams from "+up.Name, func() (bool, error) {
		if !n.Running() {
			return false, fmt.Errorf("it ended\n%s", tail(n.Log, 15))
		}
		const sql = "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'"
		count, err := up.Value(ctx, sql, n.Name)
		return count == "1", err
	})
}
