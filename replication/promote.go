package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

const (
	// replayTick is the pause between two looks at a standby that replays or is being promoted; PostgreSQL's own wait looks ten times
	// a second.
	replayTick = 2 * time.Millisecond
	// stalled is how long replay may stand still before what is left of the WAL is taken for half a record, which nothing completes.
	stalled = 25 * time.Millisecond
	// promoteAgain is the pause before a server that cannot be reached in the middle of its promotion is asked again.
	promoteAgain = 20 * time.Millisecond
)

// Promote has a standby leave recovery and returns when it accepts writes. A server that is no standby any more is fine.
//
// After an error the promotion may happen yet. Bounds has a zero field for what is not known: all of it where the server had been promoted
// before, or its host had to promote it, or it is not certain that it had the lost primary's timeline. last is what was seen of the lost
// primary, whose synchronous_standby_names the new one is to have.
func (k *Keeper) Promote(
	ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, last cluster.PrimaryGauge,
) (cluster.Bounds, error) {
	p := &promotion{k: k, node: v.Nodes[node], term: term, last: last, others: k.standbysBut(v, node)}
	k.reassure(ctx, p.node, term)
	err := k.links.use(ctx, p.node, func(s *server) error { return p.begin(ctx, s) })
	if err == nil && !p.already {
		err = p.await(ctx)
	}
	if err != nil && !errors.Is(err, errNoOffice) && p.byHost(ctx, err) {
		return cluster.Bounds{}, nil
	}
	k.ask(ctx, p.node) // for the day it is lost
	if err != nil {
		return cluster.Bounds{}, fmt.Errorf("promotion of node %d: %w", node, shorten(err))
	}
	if p.already || !k.sameTimeline(p.timeline) {
		return cluster.Bounds{}, nil
	}
	return p.bounds, nil
}

var errNoOffice = errors.New("this pgpool does not act on servers any more")

// promotion is one of them.
type promotion struct {
	k        *Keeper
	node     cluster.Node
	term     cluster.Term
	already  bool // it was no standby when we came
	ordered  bool // pg_promote has been called
	last     cluster.PrimaryGauge
	others   []string // names of the standbys that will follow it
	timeline cluster.Timeline
	bounds   cluster.Bounds
}

// begin waits until what the standby has is replayed, as long as that moves, and orders its promotion. PostgreSQL would replay it all
// the same, but what Bounds.Before can promise is what has been replayed before.
func (p *promotion) begin(ctx context.Context, s *server) error {
	t, err := s.tell(ctx)
	if err != nil {
		return err
	}
	if !t.state.InRecovery {
		p.already = !p.ordered
		return nil
	}
	p.timeline = t.state.Timeline
	reloaded, err := p.k.prepareSync(ctx, s, &t, &p.last, p.others)
	if err != nil {
		p.k.tell(p.node.ID, logging.Warning, "synchronous_standby_names of node %d was not put in order: %v", p.node.ID, err)
	}
	if t.state.ReplayPaused {
		p.k.tell(p.node.ID, logging.Log, "replay was paused on node %d: it is resumed, because the node is being promoted", p.node.ID)
		if err := s.exec(ctx, "SELECT pg_wal_replay_resume()"); err != nil {
			return err
		}
	}
	if !t.delayed {
		if err := s.replayed(ctx); err != nil {
			return err
		}
	}
	if reloaded {
		if err := s.rested(ctx); err != nil {
			return err
		}
	}
	if p.bounds.Before, err = s.nextXID(ctx); err != nil {
		return err
	}
	// The statement bears no term, so this comes last: a pgpool that stood still since the decision may have been replaced.
	if term, acts := p.k.parts.Office(); !acts || term != p.term {
		return errNoOffice
	}
	err = s.exec(ctx, "SELECT pg_promote(false)")
	if sqlState(err) == notInRecovery {
		err = nil
	}
	p.ordered = err == nil || ctx.Err() != nil || s.pg.IsClosed()
	return err
}

const (
	notInRecovery  = "55000" // object_not_in_prerequisite_state
	awaitReplaySQL = "SELECT pg_last_wal_replay_lsn(), pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()"
)

// replayed waits until a standby has replayed what it received, or nothing moves any more.
func (s *server) replayed(ctx context.Context) error {
	last, since := "", time.Now()
	for {
		row, err := s.row(ctx, awaitReplaySQL, 2)
		if err != nil {
			return err
		}
		if at := string(row[0]); at != last {
			last, since = at, time.Now()
		}
		if string(row[1]) != "f" || time.Since(since) > stalled {
			return nil
		}
		if err := pause(ctx, replayTick); err != nil {
			return err
		}
	}
}

const (
	// A reload wakes a standby that waits to try its lost primary again, and it tries at once. Told to promote meanwhile, it would first
	// wait for wal_retrieve_retry_interval (5 s). The reload arrives within wakes, the attempt is over within attempt or hangs for long.
	wakes     = 50 * time.Millisecond
	attempt   = 500 * time.Millisecond
	restsSQL  = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryRetrieveRetryInterval'"
	restsFrom = 13 // version that names this wait
)

// rested waits until a standby that was reloaded waits for its lost primary again.
func (s *server) rested(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < attempt; {
		if err := pause(ctx, wakes); err != nil {
			return err
		}
		row, err := s.row(ctx, restsSQL, 1)
		if err != nil {
			return err
		}
		if string(row[0]) != "0" || s.version() < restsFrom {
			return nil
		}
	}
	return nil
}

// nextXIDSQL asks for the next transaction id, which age counts from; the snapshot gives what lies above its 32 bits.
const nextXIDSQL = "SELECT x + ((age('3'::xid)::int8 + 3 - x) & 4294967295)" +
	" FROM (SELECT txid_snapshot_xmax(txid_current_snapshot()) AS x) s"

// nextXID is the next transaction id as a standby knows it from the WAL it has replayed. It may rise until the standby is promoted, never
// fall, so each id below it was given out by the lost primary and is given out to nobody else.
//
// A snapshot alone knows only of transactions that have ended. Those that were at work when the primary was lost, which are what one asks
// about, have higher ids.
func (s *server) nextXID(ctx context.Context) (cluster.XID, error) {
	row, err := s.row(ctx, nextXIDSQL, 1)
	if err != nil {
		return 0, err
	}
	r := reader{row: row}
	return cluster.XID(r.number()), r.err
}

// await waits until the server is out of recovery, through as many connections as it takes.
func (p *promotion) await(ctx context.Context) error {
	for {
		err := p.k.links.use(ctx, p.node, func(s *server) error { return p.watch(ctx, s) })
		if err == nil {
			return nil
		}
		if pause(ctx, promoteAgain) != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// watch waits over one connection. What is asked after recovery is asked by a statement of its own: its snapshot must be one of the
// primary.
func (p *promotion) watch(ctx context.Context, s *server) error {
	for {
		row, err := s.row(ctx, "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')", 2)
		if err != nil {
			return err
		}
		if string(row[0]) == "f" {
			if string(row[1]) == "on" {
				p.k.tell(p.node.ID, logging.Warning,
					"node %d was promoted, but default_transaction_read_only is on there", p.node.ID)
			}
			break
		}
		if err := pause(ctx, replayTick); err != nil {
			return err
		}
	}
	row, err := s.row(ctx, "SELECT txid_snapshot_xmax(txid_current_snapshot())", 1)
	if err != nil {
		return err
	}
	r := reader{row: row}
	p.bounds.After = cluster.XID(r.number())
	return r.err
}

// byHost has the server's host promote it where SQL did not.
func (p *promotion) byHost(ctx context.Context, cause error) bool {
	if ctx.Err() != nil {
		return false
	}
	h, err := p.k.parts.Host(p.node)
	if err != nil {
		return false
	}
	p.k.tell(p.node.ID, logging.Warning, "node %d is promoted by its host: %v", p.node.ID, shorten(cause))
	return h.Promote(ctx, p.term) == nil
}

// pause waits, or returns the cause of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
