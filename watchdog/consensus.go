package watchdog

import (
	"context"
	"errors"

	"gopgpool/watchdog/machine"
)

// ErrNotLeader is a decision that was not committed, or of which that is not known, because this node does not lead.
var ErrNotLeader = errors.New("this node is not the leader of the watchdog cluster")

// Ask brings a request before the leader, wherever it is, and returns with its answer or when ctx ends.
func (w *Watchdog) Ask(ctx context.Context, a machine.Ask) (machine.Answer, error) {
	answer := make(chan machine.Answer, 1)
	w.mu.Lock()
	w.number++
	n := w.number
	w.asks[n] = answer
	w.mu.Unlock()
	w.inbox.put(machine.Asked{Number: n, Ask: a})
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		w.mu.Lock()
		delete(w.asks, n)
		w.mu.Unlock()
		return machine.Answer{}, context.Cause(ctx)
	}
}

// Commit has a decision written where all nodes will find it. It returns when that cannot be lost any more, or ErrNotLeader.
func (w *Watchdog) Commit(ctx context.Context, decision []byte) error {
	outcome := make(chan machine.Outcome, 1)
	w.mu.Lock()
	w.number++
	n := w.number
	w.commits[n] = outcome
	w.mu.Unlock()
	w.inbox.put(machine.Proposed{Number: n, Decision: decision})
	select {
	case o := <-outcome:
		if !o.Committed {
			return ErrNotLeader
		}
		w.mu.Lock()
		w.committed = o.Seq
		w.mu.Unlock()
		return nil
	case <-ctx.Done():
		w.mu.Lock()
		delete(w.commits, n)
		w.mu.Unlock()
		return context.Cause(ctx)
	}
}

// Await returns when all nodes that follow this one have carried out what was decided last, or ctx ends.
func (w *Watchdog) Await(ctx context.Context) error {
	for {
		w.mu.Lock()
		changed, committed := w.changed, w.committed
		w.mu.Unlock()
		if s := w.status.Load(); s.Seq >= committed && allCarried(&s.Status) { // the status may be older than the decision

			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func allCarried(s *machine.Status) bool {
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Follows && n.Carried < s.Seq {
			return false
		}
	}
	return true
}

// Carried tells the leader that a decision holds on this node.
func (w *Watchdog) Carried(seq uint64) { w.inbox.put(machine.Carried{Seq: seq}) }

// Resign lets somebody else lead.
func (w *Watchdog) Resign(why string) { w.inbox.put(machine.Resign{Why: why}) }
