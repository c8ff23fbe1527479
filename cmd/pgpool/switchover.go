package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/failover"
	"gopgpool/logging"
	"gopgpool/proxy"
)

// switchesAlone reports whether a planned switchover needs no scripts.
func (p *parts) switchesAlone() bool {
	c := p.live.Current()
	return c.Failover.WithoutScripts() && c.BackendClusteringMode == conf.ModeStreamingReplication
}

// beginBound is how long an accepted switchover may take to be seen to begin.
const beginBound = 10 * time.Second

// switchover makes a standby the primary, wherever that is decided, and returns when it is or when it was given up. progress is called on
// the caller's goroutine, once for each phase. Errors that a client is to read are of type *proxy.SwitchoverError.
func (p *parts) switchover(ctx context.Context, node cluster.NodeID, progress func(cluster.Switchover)) error {
	r := failover.Switchover{Node: node}
	if p.coord.Check(r) == nil {
		if err := p.lighten(ctx); err != nil {
			return err
		}
	}
	w := watchSwitchover(p.store)
	defer w.stop()
	if err := p.coord.Submit(r); err != nil {
		if refused := (*failover.Refusal)(nil); errors.As(err, &refused) {
			return &proxy.SwitchoverError{Message: refused.Message, Detail: refused.Detail}
		}
		return &proxy.SwitchoverError{Message: "could not process switchover request", Detail: err.Error()}
	}
	return p.followSwitchover(ctx, node, w, progress)
}

// lighten has the primary write what it has in memory while clients are still served: else they would wait for that when it is shut down. Whether
// it can makes no difference, but for a client who has no patience left.
func (p *parts) lighten(ctx context.Context) error {
	v := p.store.Current()
	if !v.Live(v.Primary) {
		return nil
	}
	err := p.keeper.Checkpoint(ctx, v.Nodes[v.Primary])
	switch {
	case ctx.Err() != nil:
		return &proxy.SwitchoverError{Message: context.Cause(ctx).Error(), Detail: "The switchover has not begun."}
	case err != nil:
		p.log.Log(logging.Event{Severity: logging.Log, Message: "switchover: " + err.Error()})
	}
	return nil
}

// followSwitchover tells what becomes of a switchover that was accepted.
func (p *parts) followSwitchover(ctx context.Context, node cluster.NodeID, w *switchoverWatch, progress func(cluster.Switchover)) error {
	begin := time.NewTimer(beginBound)
	defer begin.Stop()
	for last := (cluster.Switchover{}); ; {
		select {
		case <-w.news:
		case <-begin.C:
			if last.Run == 0 {
				return &proxy.SwitchoverError{
					Message: "the switchover has not begun", Detail: "It was accepted, and nothing is seen of it.",
					Hint: "See the log of the pgpool that leads.",
				}
			}
		case <-ctx.Done():
			return p.leaveSwitchover(ctx, last, w)
		}
		for _, s := range w.take() {
			if s.To != node || last.Run != 0 && s.Run != last.Run {
				return &proxy.SwitchoverError{
					Message: "another switchover has begun", Detail: fmt.Sprintf("It is to node %d.", s.To), Hint: "See SHOW pool_nodes.",
				}
			}
			last = s
			progress(s)
			switch s.Phase {
			case cluster.SwitchoverDone:
				return nil
			case cluster.SwitchoverFailed:
				return &proxy.SwitchoverError{Message: fmt.Sprintf("the switchover to node %d was given up", node), Detail: s.Why}
			case cluster.SwitchoverDraining, cluster.SwitchoverStopping, cluster.SwitchoverPromoting:
			}
		}
	}
}

// endBound is how long the end of a switchover that is given up is waited for.
const endBound = 5 * time.Second

// leaveSwitchover is the end of somebody's patience, told by the cause of ctx. A switchover that still waits for transactions is given up;
// what has begun to be done goes on without him.
func (p *parts) leaveSwitchover(ctx context.Context, last cluster.Switchover, w *switchoverWatch) error {
	goesOn := &proxy.SwitchoverError{
		Message: context.Cause(ctx).Error(), Detail: "The switchover goes on.", Hint: "See SHOW pool_nodes.",
	}
	if last.Phase != cluster.SwitchoverDraining || p.coord.Submit(failover.CallOff{Run: last.Run}) != nil {
		return goesOn
	}
	bound := time.NewTimer(endBound)
	defer bound.Stop()
	for {
		for _, s := range w.take() {
			switch {
			case s.Run == last.Run && s.Phase == cluster.SwitchoverDone:
				return nil // the last transaction ended before
			case s.Run == last.Run && s.Phase == cluster.SwitchoverFailed:
				return &proxy.SwitchoverError{Message: context.Cause(ctx).Error(), Detail: "The switchover was given up."}
			}
		}
		select {
		case <-w.news:
		case <-bound.C:
			return goesOn
		}
	}
}

// switchoverWatch collects the phases of the switchovers that begin after it.
type switchoverWatch struct {
	stop   func()
	news   chan struct{} // holds at most one token: take returns something
	before int           // the last one that had begun

	mu   sync.Mutex
	last cluster.Switchover   // guarded by mu
	seen []cluster.Switchover // guarded by mu: not taken so far
}

func watchSwitchover(store *cluster.Store) *switchoverWatch {
	w := &switchoverWatch{news: make(chan struct{}, 1)}
	if s := store.Current().Switchover; s != nil {
		w.last, w.before = *s, s.Run
	}
	w.stop = store.Watch(w.changed)
	w.changed(store.Current())
	return w
}

// changed is called by the Store.
func (w *switchoverWatch) changed(v *cluster.View) {
	s := v.Switchover
	if s == nil || s.Run == w.before {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if *s == w.last || s.Run == w.last.Run && s.Phase == w.last.Phase {
		return
	}
	w.last = *s
	w.seen = append(w.seen, *s)
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *switchoverWatch) take() []cluster.Switchover {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.seen
	w.seen = nil
	return all
}
