package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
)

// SwitchoverError is a switchover that was refused, or did not come to its end, as the client is told it.
type SwitchoverError struct{ Message, Detail, Hint string }

func (e *SwitchoverError) Error() string { return e.Message + ": " + e.Detail }

var (
	errSwitchoverInside = &clientError{Code: "25001", Message: "PGPOOL SWITCHOVER cannot run inside a transaction block"}
	errNoSwitchover     = &clientError{Code: "0A000", Message: "PGPOOL SWITCHOVER is not possible here"}
)

// phases are what a switchover has told so far and nobody has read.
type phases struct {
	mu   sync.Mutex
	told []cluster.Switchover // guarded by mu
}

func (p *phases) add(s cluster.Switchover) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, s)
}

func (p *phases) take() []cluster.Switchover {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.told
	p.told = nil
	return all
}

// switchover is PGPOOL SWITCHOVER TO by a client, who is told of each phase. When he cancels it or goes, it is given up if transactions
// are still being waited for; else it goes on without him.
func (s *session) switchover(c *stmt.PoolCommand) error {
	if s.journal.InTx() || s.busyAtServers() {
		return errSwitchoverInside
	}
	if s.srv.parts.Switchover == nil {
		return errNoSwitchover
	}
	node, err := strconv.Atoi(c.Value)
	if err != nil || node < 0 || node >= cluster.MaxNodes {
		return &clientError{Code: "22023", Message: "there is no node " + c.Value}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	told, done := &phases{}, make(chan error, 1)
	go runSwitchover(ctx, s.srv.parts.Switchover, cluster.NodeID(node), told, done)
	err, cancelled := s.awaitSwitchover(told, done, cancel)
	return switchoverError(err, cancelled)
}

// switchoverError is what came of a switchover as the client is told it. The session goes on unless it was ended itself.
func switchoverError(err error, cancelled bool) error {
	code := "55000"
	if cancelled {
		code = errCancelled.Code
	}
	var refused *SwitchoverError
	if errors.As(err, &refused) {
		return &clientError{Code: code, Message: refused.Message, Detail: refused.Detail, Hint: refused.Hint}
	}
	return err
}

func runSwitchover(
	ctx context.Context, f func(context.Context, cluster.NodeID, func(cluster.Switchover)) error, node cluster.NodeID, told *phases, done chan<- error,
) {
	done <- f(ctx, node, told.add)
}

// awaitSwitchover tells the client what goes on until it is over, or he does not wait for it any more.
func (s *session) awaitSwitchover(told *phases, done <-chan error, cancel context.CancelCauseFunc) (_ error, cancelled bool) {
	defer s.placingDone()
	s.placing = true
	for {
		select {
		case err := <-done:
			cancel(nil)
			s.tellPhases(told.take())
			return err, false
		default:
		}
		s.tellPhases(told.take())
		until := s.t.Now().Add(pauseTick)
		err := s.pumpUntil(until, func() bool { return s.cancelled || !s.t.Now().Before(until) })
		if err == nil && !s.cancelled {
			continue
		}
		over := err // of the session
		if over == nil {
			err = errCancelled
		}
		cancel(err)
		s.t.Offload(func() { err = <-done })
		if over != nil {
			return over, false
		}
		s.tellPhases(told.take())
		return err, err != nil // else it had come to its end
	}
}

// tellPhases queues a notice for each phase.
func (s *session) tellPhases(all []cluster.Switchover) {
	for _, p := range all {
		if text := SwitchoverPhase(p); text != "" {
			s.client.queue(pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Code: "00000", Message: text}))
		}
	}
}

// SwitchoverPhase words a phase for an administrator; a failure is an error's and has no words here.
func SwitchoverPhase(p cluster.Switchover) string {
	switch p.Phase {
	case cluster.SwitchoverDraining:
		return fmt.Sprintf("switchover to node %d: new transactions wait, those that are open may end", p.To)
	case cluster.SwitchoverStopping:
		return fmt.Sprintf("switchover to node %d: the old primary is being stopped", p.To)
	case cluster.SwitchoverPromoting:
		return fmt.Sprintf("switchover to node %d: it is being promoted", p.To)
	case cluster.SwitchoverDone:
		return fmt.Sprintf("switchover to node %d: done", p.To)
	case cluster.SwitchoverFailed:
		return ""
	}
	return ""
}
