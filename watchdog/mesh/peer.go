package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/logging"
)

// Peer is what a linked node said of itself.
type Peer struct {
	Name string     // as its Config.Name
	Run  [16]byte   // random, another one after each start
	From netip.Addr // the address it speaks from
}

// peer is another node. Two connections may lead to it, one dialled by each side. One of them carries what we send for as long as it
// lives, so that messages do not overtake each other.
type peer struct {
	id      int
	at      Endpoint
	queue   queue
	up      atomic.Bool
	info    atomic.Pointer[Peer]
	redial  chan struct{} // capacity 1: the peer is there, dial now
	refused logging.Limiter
	lines   logging.Limiter

	mu        sync.Mutex // guards all below; the handler is told under it, so that its calls are in order
	in, out   *link
	carrier   *link        // one of them
	addresses []netip.Addr // that the host name meant when it was last resolved
	lastFrom  netip.Addr   // where it last was
}

// attach makes l one of the connections. The newest one of a direction replaces an older one.
func (m *Mesh) attach(l *link, from netip.Addr) {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	m.forgetLocked(p, l.session.hello.Run)
	place := &p.in
	if l.outbound {
		place = &p.out
	}
	if old := *place; old != nil {
		old.stop(errReplaced)
	}
	first := p.in == nil && p.out == nil
	*place = l
	h := &l.session.hello
	name := printable([]byte(h.Name))
	p.info.Store(&Peer{Name: name, Run: h.Run, From: from})
	p.lastFrom = from
	p.up.Store(true)
	p.carryLocked()
	if first {
		m.log.Log(logging.Event{
			Message: "new node joined the cluster " + who(h), Detail: fmt.Sprintf("node %d, %q", p.id, name),
		})
		m.handler.Linked(p.id, true, "connected with "+from.String())
	}
	if !l.outbound && p.out == nil {
		p.dialSoon()
	}
}

// forgetLocked ends the connections of a former start of p, which is told as the loss it is.
func (m *Mesh) forgetLocked(p *peer, run runID) {
	old := false
	for _, place := range []**link{&p.in, &p.out} {
		if l := *place; l != nil && l.session.hello.Run != run {
			l.stop(errRestart)
			*place, old = nil, true
		}
	}
	if !old {
		return
	}
	p.lines.Log(m.log, logging.Event{
		Message: fmt.Sprintf("watchdog node %d was started again, or another node speaks with its id", p.id),
	})
	m.lostLocked(p, errRestart)
}

// lostLocked brings the rest up to date after a connection was taken off.
func (m *Mesh) lostLocked(p *peer, why error) {
	p.carryLocked()
	if p.in == nil && p.out == nil {
		p.up.Store(false)
		m.handler.Linked(p.id, false, why.Error())
	}
}

func (p *peer) dialSoon() {
	select {
	case p.redial <- struct{}{}:
	default:
	}
}

// carryLocked finds another carrier if the present one is gone.
func (p *peer) carryLocked() {
	if p.carrier != nil && (p.carrier == p.in || p.carrier == p.out) {
		return
	}
	if p.carrier = p.out; p.out == nil {
		p.carrier = p.in
	}
	p.queue.carry(p.carrier)
}

// detach takes l off, if nothing replaced it.
func (m *Mesh) detach(l *link, why error) {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	switch l {
	case p.in:
		p.in = nil
	case p.out:
		p.out = nil
	default:
		return
	}
	m.lostLocked(p, why)
}

// deliver hands a message to the handler, unless l was replaced meanwhile.
func (m *Mesh) deliver(l *link, payload []byte) {
	p := l.peer
	p.mu.Lock()
	defer p.mu.Unlock()
	if l == p.in || l == p.out {
		m.handler.Received(p.id, payload)
	}
}

// refusedBy tells that the peer does not want us.
func (m *Mesh) refusedBy(p *peer, reason string) {
	p.refused.Log(m.log, logging.Event{
		Severity: logging.Warning, Message: fmt.Sprintf("watchdog node %d at %s rejects this node", p.id, hostPort(p.at)), Detail: reason,
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	m.handler.Rejected(p.id, reason)
}

// isAt reports whether the peer is known to speak from a.
func (p *peer) isAt(a netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return a == p.lastFrom || slices.Contains(p.addresses, a)
}

// knows remembers the addresses of the peer; if there are none, those of last time. Where it last was comes first.
func (p *peer) knows(addresses []netip.Addr) []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(addresses) > 0 {
		p.addresses = addresses
	}
	if i := slices.Index(p.addresses, p.lastFrom); i > 0 {
		p.addresses[0], p.addresses[i] = p.addresses[i], p.addresses[0]
	}
	return slices.Clone(p.addresses)
}

// pause is how long after the beginning of one attempt to connect the next one follows.
func pause(attempt int) time.Duration {
	switch {
	case attempt <= 60:
		return 500 * time.Millisecond
	case attempt <= 120:
		return time.Second
	}
	return 2 * time.Second
}
