package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// Finding is the outcome of one health check of a node that was not skipped.
type Finding struct {
	Node     cluster.NodeID
	Seen     *cluster.View // the View in force when the check began
	Err      error         // nil: the node is well
	TimedOut bool          // the last attempt was ended by health_check_timeout
	Retries  int
}

// Check is the periodic health check. It looks at each node every health_check_period: can one log in? It has one goroutine per node.
type Check struct {
	store    *cluster.Store
	board    *Board
	settings func() Settings
	report   func(Finding)
	log      logging.Logger
	probe    func(context.Context, cluster.Node, Login) error
	// downFile is the file of health_check_test that makes nodes fail: lines of a number, a tab, a word; "" = none.
	downFile string

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed and replaced when the settings changed
}

// NewCheck makes the check. Settings are taken anew for each round; report must not block. DownFile is
// work_dir/backend_down_request.
func NewCheck(
	store *cluster.Store, board *Board, prober *Prober, settings func() Settings, report func(Finding), downFile string,
	log logging.Logger,
) *Check {
	return &Check{
		store: store, board: board, settings: settings, report: report, log: log,
		probe: prober.login, downFile: downFile, changed: make(chan struct{}),
	}
}

// Wake makes all nodes' checks look at their settings now: after a reload.
func (h *Check) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *Check) wakeup() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// Run checks the nodes until ctx ends. Nodes that a reload adds are checked from the next Wake on.
func (h *Check) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for started := 0; ctx.Err() == nil; {
		woken := h.wakeup()
		for ; started < len(h.store.Current().Nodes); started++ {
			id := cluster.NodeID(started)
			wg.Go(func() { h.watch(ctx, id) })
		}
		select {
		case <-ctx.Done():
		case <-woken:
		}
	}
	return nil
}

// watch checks one node for ever.
func (h *Check) watch(ctx context.Context, id cluster.NodeID) {
	for ctx.Err() == nil {
		woken := h.wakeup()
		s := h.settings()
		c := s.HealthCheck.For(int(id))
		wait := c.Period
		if c.Period > 0 {
			h.cycle(ctx, id, c, s.HealthCheck.HealthCheckTest)
		} else {
			wait = idleEvery
		}
		h.pause(ctx, woken, wait)
	}
}

func (h *Check) pause(ctx context.Context, woken <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-woken:
	case <-t.C:
	}
}

// cycle is one check with its retries.
func (h *Check) cycle(ctx context.Context, id cluster.NodeID, c conf.NodeHealthCheck, test bool) {
	v := h.store.Current()
	if int(id) >= len(v.Nodes) {
		return
	}
	n := v.Nodes[id]
	began := time.Now()
	if n.Status == cluster.StatusUnused || n.Status == cluster.StatusDown {
		h.count(id, outcome{skipped: true}, began, began)
		return
	}
	f := h.check(ctx, n, c, test)
	if ctx.Err() != nil {
		return
	}
	f.Seen = v
	h.count(id, outcome{failed: f.Err != nil, spared: n.DisallowFailover, retries: f.Retries}, began, time.Now())
	h.tell(n, f)
	h.report(f)
}

// check tries until one attempt succeeds or the retries are used up.
func (h *Check) check(ctx context.Context, n cluster.Node, c conf.NodeHealthCheck, test bool) Finding {
	f := Finding{Node: n.ID}
	for {
		f.TimedOut, f.Err = h.attempt(ctx, n, c, test)
		if f.Err == nil || f.Retries >= c.MaxRetries || ctx.Err() != nil {
			break
		}
		f.Retries++
		h.log.Log(logging.Event{
			Node: logging.OnNode(n.ID), Detail: f.Err.Error(),
			Message: fmt.Sprintf("health check retrying on DB node: %d (round:%d)", n.ID, f.Retries),
		})
		h.pause(ctx, nil, c.RetryDelay)
	}
	if f.Err == nil && f.Retries > 0 {
		h.log.Log(logging.Event{
			Node:    logging.OnNode(n.ID),
			Message: fmt.Sprintf("health check retrying on DB node: %d succeeded", n.ID),
		})
	}
	return f
}

var errDownRequested = errors.New("health_check_test: the file backend_down_request asks for it")

func (h *Check) attempt(ctx context.Context, n cluster.Node, c conf.NodeHealthCheck, test bool) (timedOut bool, err error) {
	if test && h.downRequested(n.ID) {
		return false, errDownRequested
	}
	if c.Timeout <= 0 {
		return false, h.probe(ctx, n, healthLogin(c))
	}
	attempt, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	err = h.probe(attempt, n, healthLogin(c))
	return err != nil && attempt.Err() != nil && ctx.Err() == nil, err
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
func (h *Check) tell(n cluster.Node, f Finding) {
	if f.Err == nil {
		return
	}
	e := logging.Event{Node: logging.OnNode(n.ID), Detail: f.Err.Error()}
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
	h.log.Log(e)
}

// outcome of a cycle, for the statistics.
type outcome struct {
	skipped bool
	failed  bool
	spared  bool // a failure of a node that is never failed over does not count as one
	retries int
}

// count publishes the statistics of a cycle.
func (h *Check) count(id cluster.NodeID, o outcome, began, ended time.Time) {
	h.board.update(int(id)+1, func(nodes []cluster.NodeGauge) {
		nodes[id].HealthCheck = tally(nodes[id].HealthCheck, o, began, ended)
	})
}

// tally adds one cycle to the statistics (manual: SHOW POOL_HEALTH_CHECK_STATS). Skipped cycles touch no duration.
func tally(s cluster.HealthStats, o outcome, began, ended time.Time) cluster.HealthStats {
	first := s.Total == s.Skip
	s.Total++
	s.Last = ended
	if o.skipped {
		s.Skip++
		s.LastSkip = ended
		return s
	}
	took := ended.Sub(began)
	s.MaxDuration = max(s.MaxDuration, took)
	s.TotalDuration += took
	if first || took < s.MinDuration {
		s.MinDuration = took
	}
	s.Retry += uint64(o.retries)
	s.MaxRetry = max(s.MaxRetry, uint64(o.retries))
	switch {
	case !o.failed:
		s.Success++
		s.LastSuccess = ended
	case !o.spared:
		s.Fail++
		s.LastFailure = ended
	}
	return s
}

// maxDownFile bounds what is read of the test file.
const maxDownFile = 16 << 10

// downRequested reports whether the test file wants the check of a node to fail.
func (h *Check) downRequested(id cluster.NodeID) bool {
	info, err := os.Stat(h.downFile)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxDownFile {
		return false
	}
	data, err := os.ReadFile(h.downFile)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		number, word, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if n, err := strconv.Atoi(number); err == nil && n == int(id) && word == "down" {
			return true
		}
	}
	return false
}
