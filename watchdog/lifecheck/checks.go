package lifecheck

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/logging"
)

// Self is a trouble of this node.
type Self uint8

// Troubles.
const (
	Fine      Self = iota // no trouble
	Sick                  // its client port does not answer
	CutOff                // no trusted server answers
	NoNetwork             // no monitored device works, or no address is left
)

func (s Self) String() string {
	switch s {
	case Fine:
		return "fine"
	case Sick:
		return "sick"
	case CutOff:
		return "cut off"
	case NoNetwork:
		return "without network"
	}
	return "trouble " + strconv.Itoa(int(s))
}

// Finding is a trouble that has begun, or is over (Well). Each trouble is on its own: all may be there at once. Message is the reason.
type Finding struct {
	Self    Self
	Well    bool
	Message string
}

// Method is wd_lifecheck_method.
type Method uint8

// Methods.
const (
	Heartbeat Method = iota // a Judge of the caller's
	Query                   // Checks asks
	External                // only the network devices are watched
)

// Node is a pgpool node as clients reach it.
type Node struct {
	ID   int
	Host string // hostnameN
	Port int    // pgpool_portN
}

// Config is what is checked. Configure replaces what may be reloaded.
type Config struct {
	Self     int    // the local node's id
	Nodes    []Node // all that are configured, the local one as well
	Method   Method
	Interval time.Duration // wd_interval; at least a second is taken

	TrustedServers       []string // empty: not checked
	TrustedServerCommand string   // reloadable

	Interfaces []string   // wd_monitoring_interfaces_list; empty: not checked
	Delegate   netip.Addr // the virtual address, which does not count as one of this host; invalid: none

	Listener string // host:port where the own client port must answer; "": not checked

	Question Question      // for Query; reloadable
	Verdict  func(Verdict) // for Query; called from several goroutines

	// These are called from goroutines of Checks.
	Ready  func() bool // for Heartbeat: all nodes have been heard once (what Judge.Ready said last); nil is yes
	Paused func() bool // online recovery, a graceful detach or a promotion is under way: nobody is judged; nil is no
}

// Checks runs the checks. Its methods may be called from any goroutine.
type Checks struct {
	config atomic.Pointer[Config]
	report func(Finding)
	log    logging.Logger
	query  *survey

	// Seams.
	network      func() (*network, error)
	listener     func(ctx context.Context, address string, bound time.Duration) error
	second       time.Duration // how often it is asked whether all nodes are ready
	listenerTime time.Duration // for an answer of the own client port

	started atomic.Bool // all nodes have been seen once
}

// NewChecks makes the checks. Report is called from several goroutines, when a trouble begins or ends, and must not block for long.
func NewChecks(c Config, report func(Finding), log logging.Logger) *Checks {
	k := &Checks{report: report, log: log, network: openNetwork, listener: askListener, second: time.Second, listenerTime: listenerTime}
	k.query = newSurvey(c.Nodes, c.Self)
	k.Configure(c)
	if len(c.Interfaces) == 0 {
		log.Log(logging.Event{Message: "interface monitoring is disabled in watchdog"})
	}
	return k
}

// Configure replaces the values that may be reloaded, for the next round on.
func (k *Checks) Configure(c Config) {
	c.Interval = max(c.Interval, time.Second)
	if c.Ready == nil {
		c.Ready = func() bool { return true }
	}
	if c.Paused == nil {
		c.Paused = func() bool { return false }
	}
	if c.Verdict == nil {
		c.Verdict = func(Verdict) {}
	}
	k.config.Store(&c)
}

// Run checks until ctx ends, and returns when all of it has ended, programs it started included. An error is one of the start: a device
// that does not exist, or none that works.
func (k *Checks) Run(ctx context.Context) error {
	c := k.config.Load()
	watch, err := k.watchInterfaces(c)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	if watch != nil {
		running.Go(func() { watch.run(ctx) })
	}
	if c.Method == External {
		<-ctx.Done()
		return nil
	}
	k.log.Log(logging.Event{Message: strconv.Itoa(len(c.Nodes)) + " watchdog nodes are configured for lifecheck"})
	if c.Method == Query {
		running.Go(func() { k.runQuery(ctx) })
	}
	if c.Listener != "" {
		running.Go(func() { k.runListener(ctx) })
	}
	if !k.awaitStart(ctx) {
		return nil
	}
	if len(c.TrustedServers) > 0 {
		k.runTrusted(ctx)
	}
	<-ctx.Done()
	return nil
}

// awaitStart waits until all nodes have been seen once; false if ctx ended before (manual: lifecheck).
func (k *Checks) awaitStart(ctx context.Context) bool {
	begin := newBeginning(k.config.Load().Interval)
	for now := time.Duration(0); ; now += k.second {
		c := k.config.Load()
		event, started := begin.look(k.allSeen(c), now)
		if event != "" {
			k.log.Log(logging.Event{Severity: severity(!started), Message: event})
		}
		if started {
			k.started.Store(true)
			return true
		}
		if !pause(ctx, k.second) {
			return false
		}
	}
}

// Started reports whether all nodes have been seen once and the checks have begun.
func (k *Checks) Started() bool { return k.started.Load() }

func (k *Checks) allSeen(c *Config) bool {
	if c.Method == Query {
		return k.query.allSeen()
	}
	return c.Ready()
}

// beginning decides what is said until all nodes have been seen.
type beginning struct {
	patience time.Duration // until each warning
	next     time.Duration
}

func newBeginning(interval time.Duration) *beginning {
	return &beginning{patience: 10 * interval, next: 10 * interval}
}

// look is called again and again until it says that the life check has started.
func (b *beginning) look(ready bool, now time.Duration) (event string, started bool) {
	switch {
	case ready:
		return "watchdog: lifecheck started", true
	case now >= b.next:
		b.next = now + b.patience
		return "watchdog: lifecheck has not started yet", false
	}
	return "", false
}

func severity(warning bool) logging.Severity {
	if warning {
		return logging.Warning
	}
	return logging.Log
}

// state reports changes of one trouble. It is used by one goroutine.
type state struct {
	checks *Checks
	self   Self
	bad    bool
}

// set reports a change. Bad is the reason of the trouble, well what is said when it is over.
func (s *state) set(trouble bool, bad, well string) {
	if trouble == s.bad {
		return
	}
	s.bad = trouble
	message := well
	if trouble {
		message = bad
	}
	s.checks.log.Log(logging.Event{Severity: severity(trouble), Message: message, Reason: s.self.String()})
	s.checks.report(Finding{Self: s.self, Well: !trouble, Message: message})
}

// every runs a round at once and then one each interval; a round that takes longer delays the next.
func (k *Checks) every(ctx context.Context, interval func(*Config) time.Duration, round func(context.Context, *Config)) {
	for {
		begin := time.Now()
		c := k.config.Load()
		round(ctx, c)
		if !pause(ctx, interval(c)-time.Since(begin)) {
			return
		}
	}
}

// pause waits; false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}

func perInterval(c *Config) time.Duration { return c.Interval }

func hostPort(n Node) string { return fmt.Sprintf("%s:%d", n.Host, n.Port) }
