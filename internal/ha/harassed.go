package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// stretch is the part of a switchover in which something is killed.
type stretch uint8

const (
	whileDraining stretch = iota // a transaction is open
	whileStopping                // the old primary was told to stop
	whenPromoted                 // the target has begun a timeline of its own
)

// victim says which server is killed.
type victim uint8

const (
	theTarget victim = iota
	theOldPrimary
)

// killInSwitchover kills a server in the middle of a switchover.
//
// While transactions end nothing has happened yet: if the target is lost, the old primary goes on and nobody notices; if the old primary
// is lost, that is a failover. While the old primary stops nobody has a statement there, so nobody may notice either loss, and if it is the
// target's, no acknowledged row may be missing. A target that has just been promoted leaves a timeline that whoever is promoted next may
// begin too, under the same number.
func killInSwitchover(when stretch, whom victim) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		target := t.standbys[0]
		l := loss{what: killAll, nodes: []*pgcluster.Node{target}, primary: when != whileDraining, free: when != whileDraining}
		if whom == theOldPrimary {
			l = t.ofPrimary(killAll)
			l.free = when != whileDraining // it was condemned before
		}
		t.flawless = when == whileStopping || when == whileDraining && whom == theTarget
		t.lossless = whom == theTarget
		due := t.awaitLog("switchover: node")
		switch when {
		case whileStopping:
			due = awaitServerLog(t.primary, "received fast shutdown request")
		case whenPromoted:
			due = awaitServerLog(target, "selected new timeline ID")
		case whileDraining:
		}
		var open *openTransaction
		if when == whileDraining {
			var err error
			if open, err = t.openTransaction(ctx); err != nil {
				return err
			}
			defer open.close(ctx)
		}
		answer := make(chan error, 1)
		go func() {
			_, err := t.orderBySQL(ctx, target.ID)
			answer <- err
		}()
		if err := due(ctx); err != nil {
			return errors.Join(err, <-answer)
		}
		if when == whileDraining {
			if err := wait(ctx, 300*time.Millisecond); err != nil {
				return err
			}
		}
		if err := t.lose(ctx, l); err != nil {
			return err
		}
		if open != nil {
			open.judge(ctx, t, whom)
		}
		told := <-answer
		if when == whenPromoted && told == nil { // it was over before: a loss as any other
			t.lossless = false
			return nil
		}
		return t.judgeAnswer(ctx, told, target)
	}
}

// judgeAnswer: a switchover that has not made its target the primary says so.
func (t *trial) judgeAnswer(ctx context.Context, answer error, target *pgcluster.Node) error {
	if err := t.awaitWorkers(ctx, t.fleet, t.workers()); err != nil {
		return nil //nolint:nilerr // told by who called
	}
	now, err := t.campaign.primary(ctx)
	if err != nil {
		return err
	}
	if answer == nil && now != target {
		t.complain("a switchover that fails says so", "it was said to be done, and %s is the primary", now.Name)
	}
	return nil
}

// openTransaction is a transaction through pgpool that lasts until its fate is known.
type openTransaction struct{ conn *pgconn.PgConn }

func (t *trial) openTransaction(ctx context.Context) (*openTransaction, error) {
	conn, err := pgconn.Connect(ctx, t.dsn())
	if err != nil {
		return nil, err
	}
	const sql = "BEGIN; UPDATE ha_small SET v = 'one' WHERE id = 1"
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return &openTransaction{conn}, nil
}

// judge ends the transaction. It survives the loss of the target.
func (o *openTransaction) judge(ctx context.Context, t *trial, lost victim) {
	if lost == theOldPrimary {
		return
	}
	if _, err := o.conn.Exec(ctx, "COMMIT").ReadAll(); err != nil {
		t.complain("a transaction survives a switchover that is given up", "%s", oneLine(err))
	}
}

func (o *openTransaction) close(ctx context.Context) {
	_ = o.conn.Close(ctx) // its fate is known, or it has none
}

// awaitServerLog waits until a server's log, from its end now on, has a text.
func awaitServerLog(n *pgcluster.Node, text string) func(ctx context.Context) error {
	size := int64(0)
	if info, err := os.Stat(n.Log); err == nil {
		size = info.Size()
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, recovery)
		defer cancel()
		f, err := os.Open(n.Log)
		if err != nil {
			return err
		}
		defer f.Close()
		tail := make([]byte, 4<<20)
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			got, _ := f.ReadAt(tail, size) // the end of the file is no error here
			if bytes.Contains(tail[:got], []byte(text)) {
				return nil
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return fmt.Errorf("%s logs %q: %w", n.Name, text, context.Cause(ctx))
			}
		}
	}
}
