package vip

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/logging"
)

// Desired is what an [Address] is told to do.
type Desired struct {
	Hold bool
	// Until is when the lease ends, as read from [Boottime]. Nothing is held from then on, whoever sleeps. A lease of less than about
	// two seconds is too short to place an address.
	Until time.Duration
	// Graceful, without Hold, runs wd_de_escalation_command before the address goes, for as long as Until allows. Otherwise the address
	// goes at once and the command runs beside. Like everything here the latest word counts: repeat it while it is meant.
	Graceful bool
}

// State is what an [Address] has come to.
type State struct {
	// Held: the address is on a device of this host, or the command that raises it elsewhere has ended well.
	Held   bool
	Busy   bool // a command of a transition is running
	Leased bool // the kernel removes the address by itself when its lease ends
	// Unplugged: the device it is on has no carrier, so nobody can reach it.
	Unplugged bool
	Device    string        // where it is; "" if it is on no device of this host
	Since     time.Duration // when Held last changed, as read from Boottime; 0: never
	Err       string        // why it is not held although it should be, or is still there; "" if all is well
}

// Address is the virtual IP address of this node. Set, Current and Probe may be called from any goroutine.
type Address struct {
	cfg    Config
	plan   plan
	log    logging.Logger
	report func(State)
	now    func() time.Duration

	wake  chan struct{} // of capacity 1: look again
	again atomic.Bool   // announce again

	mu      sync.Mutex
	desired Desired // guarded by mu
	state   State   // guarded by mu; only Run writes it
}

// New checks the commands as the manual describes for the start (if_up_cmd). It starts nothing. report, which may be nil, is told
// every new state by the goroutine of Run; it must not block.
func New(cfg Config, log logging.Logger, report func(State)) (*Address, error) {
	return newAddress(cfg, currentRights(), log, report)
}

func newAddress(cfg Config, may rights, log logging.Logger, report func(State)) (*Address, error) {
	cfg.IP = cfg.IP.Unmap()
	p, err := makePlan(cfg, may)
	if err != nil {
		return nil, err
	}
	if err := p.check(cfg, may, log); err != nil {
		return nil, err
	}
	if report == nil {
		report = func(State) {}
	}
	return &Address{cfg: cfg, plan: p, log: log, report: report, now: Boottime, wake: make(chan struct{}, 1)}, nil
}

// Set says what is wanted. It never blocks; the latest word counts.
func (a *Address) Set(d Desired) {
	a.mu.Lock()
	a.desired = d
	a.mu.Unlock()
	a.nudge()
}

// Announce tells the neighbours again where the address is, if it is here: others may have said so meanwhile. It never blocks.
func (a *Address) Announce() {
	a.again.Store(true)
	a.nudge()
}

// nudge makes Run look again.
func (a *Address) nudge() {
	select {
	case a.wake <- struct{}{}:
	default: // it will anyway
	}
}

func (a *Address) wish() Desired {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.desired
}

// Current is the latest state.
func (a *Address) Current() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// publish makes s the current state, and tells it if it is new.
func (a *Address) publish(s State) {
	a.mu.Lock()
	s.Since = a.state.Since
	if s.Held != a.state.Held {
		s.Since = a.now()
	}
	changed := s != a.state
	a.state = s
	a.mu.Unlock()
	if changed {
		a.report(s)
	}
}

// Run carries out what is wanted. It begins with removing an address that an earlier process has left. When ctx ends it releases the
// address in the graceful way and returns when that is gone, the commands have ended, and nothing of it runs. The error is about the
// machine's means: without them there is no address.
func (a *Address) Run(ctx context.Context) error {
	if !a.cfg.IP.IsValid() {
		newHolder(a, nil).run(ctx)
		return nil
	}
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.close()
	w, err := openWatcher()
	if err != nil {
		return err
	}
	var watching sync.WaitGroup
	watching.Go(func() { w.run(a.nudge) })
	defer watching.Wait()
	defer w.close()
	newHolder(a, k).run(ctx)
	return nil
}
