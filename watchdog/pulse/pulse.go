package pulse

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/logging"
)

const (
	answersBurst    = 4
	answersInterval = 100 * time.Millisecond // for one more answer to a node
)

// Stats counts packets since the start.
type Stats struct {
	Sent    uint64
	Alive   uint64 // counted as signs of life
	Strange uint64 // from nodes that had not heard of us yet
	Stale   uint64 // heard before
	Forged  uint64 // garbage, for or from somebody else, or with a wrong MAC
}

// Pulse sends our heartbeats and receives those of the others.
type Pulse struct {
	config Config
	report func(node int, path string, at time.Duration)
	log    logging.Logger
	nodes  []*node
	forged logging.Limiter
	owe    chan struct{} // capacity 1: some node is owed an answer

	sent, alive, strange, stale, forgeries atomic.Uint64

	// Seams.
	root            bool
	lookup          func(ctx context.Context, network, host string) ([]netip.Addr, error)
	bindInterval    time.Duration
	restartInterval time.Duration
}

// node is one of the others.
type node struct {
	NodeName
	senders []*sender
	old     logging.Limiter

	mu       sync.Mutex // guards all below
	contact  contact
	answers  int
	answered time.Time // answers is of this moment
	owed     bool      // there were too many
}

// New checks the configuration. Report is called for each sign of life, by the receivers' goroutines, several at a time: it must not
// block. Path is the address the packet came from, at is CLOCK_BOOTTIME.
func New(c Config, report func(node int, path string, at time.Duration), log logging.Logger) (*Pulse, error) {
	c.Paths, c.Listen, c.Known = slices.Clone(c.Paths), slices.Clone(c.Listen), slices.Clone(c.Known)
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Keepalive == 0 {
		c.Keepalive = defaultKeepalive
	}
	p := &Pulse{
		config: c, report: report, log: log, root: os.Geteuid() == 0, lookup: net.DefaultResolver.LookupNetIP,
		bindInterval: bindInterval, restartInterval: restartInterval, owe: make(chan struct{}, 1),
	}
	var run runID
	rand.Read(run[:]) // never fails
	for _, known := range c.Known {
		n := &node{NodeName: known, contact: contact{self: run}, answers: answersBurst}
		for _, path := range c.Paths {
			if path.Node == known.Node {
				n.senders = append(n.senders, newSender(p, path, uint8(len(n.senders))))
			}
		}
		p.nodes = append(p.nodes, n)
	}
	return p, nil
}

// Run sends and receives until ctx ends. What fails is logged and started again.
func (p *Pulse) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	for _, n := range p.nodes {
		for _, s := range n.senders {
			parts.Go(func() { s.resolve(ctx) })
			parts.Go(func() { p.keep(ctx, "heartbeat sender to "+s.name, s.run) })
		}
	}
	for _, l := range p.config.Listen {
		r := receiver{pulse: p, at: l}
		parts.Go(func() { p.keep(ctx, "heartbeat receiver on "+r.name(), r.run) })
	}
	parts.Go(func() { p.answerLate(ctx) })
	beat := time.NewTicker(p.config.Keepalive)
	defer beat.Stop()
	for {
		for _, n := range p.nodes {
			p.send(n)
		}
		select {
		case <-beat.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// answerLate sends the answers that were too many for their moment: a flood of recordings must not swallow the one answer
// that was due.
func (p *Pulse) answerLate(ctx context.Context) {
	for {
		select {
		case <-p.owe:
		case <-ctx.Done():
			return
		}
		if !sleep(ctx, answersInterval) {
			return
		}
		for _, n := range p.nodes {
			if n.takeOwed() {
				p.send(n)
			}
		}
	}
}

// keep runs part again and again until ctx ends or the part returns nil because it has nothing to do.
func (p *Pulse) keep(ctx context.Context, name string, part func(context.Context) error) {
	var lines logging.Limiter
	for ctx.Err() == nil {
		err := part(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		lines.Log(p.log, logging.Event{
			Severity: logging.Warning, Message: name + " failed and is started again", Detail: err.Error(),
		})
		sleep(ctx, p.restartInterval)
	}
}

// send gives the next packet to all senders of a node.
func (p *Pulse) send(n *node) {
	n.mu.Lock()
	ours, echoes := n.contact.next()
	n.mu.Unlock()
	var packets []packet
	for _, echo := range echoes {
		packets = append(packets, packet{
			From: uint16(p.config.Self), To: uint16(n.Node), Port: uint16(p.config.SelfPgpoolPort), Host: p.config.SelfHost,
			Mark: ours, Echo: echo,
		})
	}
	for _, s := range n.senders {
		s.post(packets)
	}
}

// Stats returns the counts.
func (p *Pulse) Stats() Stats {
	return Stats{
		Sent: p.sent.Load(), Alive: p.alive.Load(), Strange: p.strange.Load(), Stale: p.stale.Load(), Forged: p.forgeries.Load(),
	}
}

// mayAnswerLocked bounds what a stranger can make us send.
func (n *node) mayAnswerLocked(now time.Time) bool {
	if more := int(now.Sub(n.answered) / answersInterval); more > 0 {
		n.answers, n.answered = min(answersBurst, n.answers+more), now
	}
	if n.answers == 0 {
		n.owed = true
		return false
	}
	n.answers--
	return true
}

func (n *node) takeOwed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	owed := n.owed
	n.owed = false
	return owed
}

// bootTime is CLOCK_BOOTTIME.
func bootTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // Linux has had this clock for long
	return time.Duration(t.Nano())
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
