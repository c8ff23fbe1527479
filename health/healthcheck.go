package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// Verdict is what a health check makes of a node.
type Verdict uint8

// Verdicts.
const (
	// Well: one can log in.
	Well Verdict = iota + 1
	// Spared: the check failed and the node stays, because the server is alive, because no question reached it, or because the
	// node must not be detached.
	Spared
	// Condemned: the node is to be detached.
	Condemned
	// Returned: the node is down, streams from the primary and lets us in: it is to be attached (manual: auto_failback).
	Returned
)

// Finding is the outcome of one health check of a node that was not skipped, or of one that found a node that was down well again.
type Finding struct {
	Node     cluster.NodeID
	Seen     *cluster.View // the View in force when the check began
	Verdict  Verdict
	Err      error // nil: one can log in
	TimedOut bool  // the last attempt ended without an answer in time
	Retries  int
}

// Check is the periodic health check. It looks at each node every health_check_period: can one log in? It has one goroutine per
// node, so that a silent node holds up nobody but itself.
type Check struct {
	store    *cluster.Store
	board    *Board
	settings func() Settings
	report   func(Finding)
	log      logging.Logger
	probe    func(context.Context, cluster.Node, Login) error
	// downFile is the file of health_check_test that makes nodes fail: lines of a number, a tab, a word; "" = none.
	downFile string
	confirm  [cluster.MaxNodes]chan struct{} // each holds at most one token: somebody wants the node checked now

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed and replaced when the settings changed
}

// NewCheck makes the check. Settings are taken anew for each round; report must not block. DownFile is
// work_dir/backend_down_request.
func NewCheck(
	store *cluster.Store, board *Board, prober *Prober, settings func() Settings, report func(Finding), downFile string,
	log logging.Logger,
) *Check {
	h := &Check{
		store: store, board: board, settings: settings, report: report, log: log,
		probe: prober.login, downFile: downFile, changed: make(chan struct{}),
	}
	for i := range h.confirm {
		h.confirm[i] = make(chan struct{}, 1)
	}
	return h
}

// Wake makes all nodes' checks look at their settings now: after a reload.
func (h *Check) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.changed = make(chan struct{})
}

// Confirm has a node checked at once, whatever its period: somebody had trouble with it. Retries are made as always, and the finding
// is reported like any other. It never blocks; several calls before the check begins are one.
func (h *Check) Confirm(id cluster.NodeID) {
	if id < 0 || id >= cluster.MaxNodes {
		return
	}
	select {
	case h.confirm[id] <- struct{}{}:
	default:
	}
}

func (h *Check) wakeup() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// Run checks the nodes until ctx ends, those too that come later.
func (h *Check) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	published := make(chan struct{}, 1)
	stop := h.store.Watch(func(*cluster.View) {
		select {
		case published <- struct{}{}:
		default:
		}
	})
	defer stop()
	for started := 0; ctx.Err() == nil; {
		for ; started < len(h.store.Current().Nodes); started++ {
			w := h.watcher(cluster.NodeID(started))
			wg.Go(func() { w.run(ctx) })
		}
		select {
		case <-ctx.Done():
		case <-published:
		}
	}
	return nil
}

// watcher checks one node. It belongs to the node's goroutine.
type watcher struct {
	*Check
	id       cluster.NodeID
	log      logging.Logger
	attached time.Time // when auto_failback last asked for the node
}

// watcher makes the watcher of a node. It speaks under the node's name (manual: %a in log_line_prefix).
func (h *Check) watcher(id cluster.NodeID) *watcher {
	return &watcher{Check: h, id: id, log: h.log.With(&logging.Origin{
		App: fmt.Sprintf("health_check%d", id), ProcessName: fmt.Sprintf("health check process(%d)", id), PID: os.Getpid(),
	})}
}

// run checks the node for ever.
func (w *watcher) run(ctx context.Context) {
	for confirming := false; ctx.Err() == nil; {
		woken := w.wakeup()
		s := w.settings()
		c := s.HealthCheck.For(int(w.id))
		wait := idleEvery
		if confirming {
			c = bounded(c)
		}
		if c.Period > 0 {
			wait = c.Period
		}
		if c.Period > 0 || confirming {
			w.cycle(ctx, c, &s, confirming)
		}
		confirming = w.pause(ctx, woken, wait)
	}
}

// pause waits for the next cycle. It reports whether somebody wants one now.
func (w *watcher) pause(ctx context.Context, woken <-chan struct{}, d time.Duration) (confirming bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-woken:
	case <-t.C:
	case <-w.confirm[w.id]:
		return true
	}
	return false
}

// confirmBound stands in for health_check_timeout = 0 where a check must end: one that was asked for, one of a node that is down.
const confirmBound = 20 * time.Second

// bounded are the settings for an attempt outside the periodic check.
func bounded(c conf.NodeHealthCheck) conf.NodeHealthCheck {
	if c.Timeout <= 0 {
		c.Timeout = confirmBound
	}
	return c
}

// cycle is one check with its retries.
func (w *watcher) cycle(ctx context.Context, c conf.NodeHealthCheck, s *Settings, confirming bool) {
	v := w.store.Current()
	if int(w.id) >= len(v.Nodes) {
		return
	}
	n, began := v.Nodes[w.id], time.Now()
	if n.Status == cluster.StatusUnused || n.Status == cluster.StatusDown {
		if c.Period > 0 {
			w.failBack(ctx, v, c, s)
			w.count(w.id, outcome{skipped: true}, began, time.Now())
		}
		return
	}
	f := w.check(ctx, n, c, s.HealthCheck.HealthCheckTest)
	if ctx.Err() != nil {
		return
	}
	if confirming && c.User == "" && f.Err != nil && troubleIn(f.Err) == Rejected {
		f.Err = nil // nobody said who we are: any answer will do
	}
	f.Seen, f.Verdict = v, judge(n, f.Err)
	if f.Verdict == Condemned && w.outdated(n) {
		f.Verdict = Spared // somebody else was quicker; another check will tell of what became of it
	}
	if c.Period > 0 {
		w.count(w.id, outcome{failed: f.Err != nil, spared: n.DisallowFailover, retries: f.Retries}, began, time.Now())
	}
	w.tell(n, f)
	w.report(f)
}

// judge draws the conclusion. A server that answers is alive, however little it likes us, and what went wrong on our side says
// nothing about it.
func judge(n cluster.Node, err error) Verdict {
	if err == nil {
		return Well
	}
	if n.Status == cluster.StatusQuarantine || n.DisallowFailover {
		return Spared
	}
	switch t := troubleIn(err); t {
	case Refused, Broken, Unreachable, Silent:
		return Condemned
	case NotAsked, Rejected:
		return Spared
	default:
		panic(fmt.Sprintf("health: no such trouble: %d", t))
	}
}

// doubtful reports whether one failure of the kind is not enough to judge by: a slow answer, a way that was lost for a moment.
func doubtful(err error) bool {
	t := troubleIn(err)
	return t == Silent || t == Unreachable
}

// check tries until one attempt succeeds or the retries are used up. Where none are configured a doubtful failure is confirmed by
// one, after a time-out at once.
func (w *watcher) check(ctx context.Context, n cluster.Node, c conf.NodeHealthCheck, test bool) Finding {
	f := Finding{Node: n.ID}
	for tries, delay := c.MaxRetries, c.RetryDelay; ; {
		f.Err = w.attempt(ctx, n, c, test)
		f.TimedOut = f.Err != nil && troubleIn(f.Err) == Silent
		if f.Err != nil && doubtful(f.Err) && tries == 0 {
			tries = 1
			if f.TimedOut {
				delay = 0 // it has taken long enough
			}
		}
		if f.Err == nil || f.Retries >= tries || ctx.Err() != nil || w.outdated(n) {
			break
		}
		f.Retries++
		w.log.Log(logging.Event{
			Node: logging.OnNode(n.ID), Detail: f.Err.Error(),
			Message: fmt.Sprintf("health check retrying on DB node: %d (round:%d)", n.ID, f.Retries),
		})
		sleep(ctx, delay)
	}
	if f.Err == nil && f.Retries > 0 {
		w.log.Log(logging.Event{
			Node:    logging.OnNode(n.ID),
			Message: fmt.Sprintf("health check retrying on DB node: %d succeeded", n.ID),
		})
	}
	return f
}

// outdated reports whether the node has been condemned or promoted since n was taken: nobody waits for this check any more.
func (w *watcher) outdated(n cluster.Node) bool {
	v := w.store.Current()
	return int(n.ID) >= len(v.Nodes) || v.Nodes[n.ID].Epoch != n.Epoch
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

var errDownRequested = errors.New("health_check_test: the file backend_down_request asks for it")

// attempt is one try, bounded by health_check_timeout.
func (h *Check) attempt(ctx context.Context, n cluster.Node, c conf.NodeHealthCheck, test bool) error {
	if test && h.downRequested(n.ID) {
		return errDownRequested
	}
	if c.Timeout <= 0 {
		return h.probe(ctx, n, healthLogin(c))
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return h.probe(ctx, n, healthLogin(c))
}

// login is a whole health check: startup, authentication, goodbye. No query is sent (manual: health check).
func (p *Prober) login(ctx context.Context, n cluster.Node, l Login) error {
	c, err := p.Connect(ctx, n, l, nil)
	if err != nil {
		return err
	}
	closeQuietly(c)
	return nil
}

// tell logs the outcome where it is bad.
func (w *watcher) tell(n cluster.Node, f Finding) {
	if f.Err == nil {
		return
	}
	e := logging.Event{Node: logging.OnNode(n.ID), Detail: f.Err.Error(), Hint: hint(f.Err)}
	switch {
	case n.Status == cluster.StatusQuarantine:
		e.Message = fmt.Sprintf("health check failed on quarantine node %d", n.ID)
		e.Hint = "ignoring.."
	case n.DisallowFailover:
		e.Message = fmt.Sprintf("health check failed on node %d but failover is disallowed for the node", n.ID)
	default:
		timeout := 0
		if f.TimedOut {
			timeout = 1
		}
		e.Message = fmt.Sprintf("health check failed on node %d (timeout:%d)", n.ID, timeout)
	}
	w.log.Log(e)
}
