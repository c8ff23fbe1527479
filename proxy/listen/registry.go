package listen

import (
	"slices"

	"gopgpool/loop"
)

// state is what the current connection has heard of a channel.
type state uint8

const (
	off     state = iota // nothing: also every channel while there is no connection
	asked                // LISTEN is under way
	on                   // LISTEN is confirmed
	leaving              // UNLISTEN is under way
)

// channel is one that somebody wants, or that the server has not yet been told to forget.
type channel struct {
	name    string
	state   state
	queued  bool // in registry.dirty
	members []*member
	waiting []*request // for state on
}

// member is a subscriber that listens here.
type member struct {
	sub      Subscriber
	inbox    *Inbox
	place    int              // in registry.members
	channels map[*channel]int // its place in the members of each
}

// request is a session that waits for the server. All but task is guarded by the listener's lock.
type request struct {
	task   *loop.Task
	member *member
	wants  []*channel
	added  []*channel // those of them that it brought, undone when it fails
	left   int        // channels to be confirmed
	done   bool
	err    error
}

// command is a statement for the server: LISTEN or UNLISTEN, or, without a channel, an empty one behind which everything
// notified before has arrived.
type command struct {
	channel  *channel
	unlisten bool
	flush    []*request
}

// sql is the statement's text.
func (c *command) sql() string {
	switch {
	case c.channel == nil:
		return ""
	case c.unlisten:
		return "UNLISTEN " + quote(c.channel.name)
	}
	return "LISTEN " + quote(c.channel.name)
}

// registry is who listens to what through one connection, what the server knows of it and has to be told. It does no I/O; its
// owner locks.
type registry struct {
	channels  map[string]*channel
	of        map[Subscriber]*member
	members   []*member
	turn      int // of the member that lends the way to open
	dirty     []*channel
	requests  map[*request]struct{}
	connected bool
	flushes   []*request // not sent
}

func newRegistry() registry {
	return registry{channels: map[string]*channel{}, of: map[Subscriber]*member{}, requests: map[*request]struct{}{}}
}

// idle reports that nobody listens.
func (g *registry) idle() bool { return len(g.members) == 0 }

// join adds channels to a subscriber; the request is done when all of them are confirmed.
func (g *registry) join(t *loop.Task, sub Subscriber, names []string) *request {
	m := g.member(sub)
	r := &request{task: t, member: m}
	for _, name := range names {
		ch := g.channels[name]
		if ch == nil {
			ch = &channel{name: name}
			g.channels[name] = ch
		}
		if _, has := m.channels[ch]; !has {
			m.channels[ch] = len(ch.members)
			ch.members = append(ch.members, m)
			r.added = append(r.added, ch)
		}
		if slices.Contains(r.wants, ch) {
			continue
		}
		r.wants = append(r.wants, ch)
		if ch.state != on {
			ch.waiting = append(ch.waiting, r)
			r.left++
			g.touch(ch)
		}
	}
	r.done = r.left == 0
	if !r.done {
		g.requests[r] = struct{}{}
	}
	return r
}

func (g *registry) member(sub Subscriber) *member {
	m := g.of[sub]
	if m == nil {
		m = &member{sub: sub, inbox: sub.Inbox(), place: len(g.members), channels: map[*channel]int{}}
		g.of[sub] = m
		g.members = append(g.members, m)
	}
	return m
}

// part takes channels from a subscriber, all of them if names is nil.
func (g *registry) part(sub Subscriber, names []string) {
	m := g.of[sub]
	if m == nil {
		return
	}
	if names == nil {
		for ch := range m.channels {
			g.leave(m, ch)
		}
	}
	for _, name := range names {
		if ch := g.channels[name]; ch != nil {
			g.leave(m, ch)
		}
	}
	g.forgetUnused(m)
}

func (g *registry) leave(m *member, ch *channel) {
	at, has := m.channels[ch]
	if !has {
		return
	}
	last := len(ch.members) - 1
	moved := ch.members[last]
	ch.members[at] = moved
	moved.channels[ch] = at
	ch.members[last] = nil
	ch.members = ch.members[:last]
	delete(m.channels, ch)
	if last == 0 {
		ch.members = nil
		g.touch(ch)
	}
}

// forgetUnused drops a member that listens to nothing.
func (g *registry) forgetUnused(m *member) {
	if len(m.channels) > 0 || g.of[m.sub] != m {
		return
	}
	last := len(g.members) - 1
	moved := g.members[last]
	g.members[m.place], moved.place = moved, m.place
	g.members[last] = nil
	g.members = g.members[:last]
	delete(g.of, m.sub)
}

// touch has next look at a channel.
func (g *registry) touch(ch *channel) {
	if !ch.queued {
		ch.queued = true
		g.dirty = append(g.dirty, ch)
	}
}

// next is the next statement for the server, nil if it knows all.
func (g *registry) next() *command {
	for len(g.dirty) > 0 {
		ch := g.dirty[0]
		g.dirty[0] = nil
		if g.dirty = g.dirty[1:]; len(g.dirty) == 0 {
			g.dirty = nil
		}
		ch.queued = false
		wanted := len(ch.members) > 0
		switch {
		case wanted && ch.state == off:
			ch.state = asked
			return &command{channel: ch}
		case !wanted && ch.state == on:
			ch.state = leaving
			return &command{channel: ch, unlisten: true}
		case !wanted && ch.state == off:
			delete(g.channels, ch.name)
		}
	}
	if len(g.flushes) > 0 {
		c := &command{flush: g.flushes}
		g.flushes = nil
		return c
	}
	return nil
}

// answered is the server's answer to a statement. It reports false where the connection is of no use any more: it refuses a
// channel to sessions that have been promised it.
func (g *registry) answered(c *command, refusal error) bool {
	ch := c.channel
	switch {
	case ch == nil:
		g.finishAll(c.flush, nil)
		return true
	case c.unlisten:
		ch.state = off
		g.touch(ch)
		return refusal == nil
	case refusal == nil:
		ch.state = on
		g.confirm(ch)
		return true
	}
	ch.state = off
	waiting := ch.waiting
	ch.waiting = nil
	g.finishAll(waiting, refusal)
	g.touch(ch)
	return len(ch.members) == 0
}

func (g *registry) confirm(ch *channel) {
	for _, r := range ch.waiting {
		if r.left--; r.left == 0 {
			g.finish(r, nil)
		}
	}
	ch.waiting = nil
	if len(ch.members) == 0 {
		g.touch(ch)
	}
}

func (g *registry) finishAll(rs []*request, err error) {
	for _, r := range rs {
		g.finish(r, err)
	}
}

// finish answers a request.
func (g *registry) finish(r *request, err error) {
	if r.done {
		return
	}
	r.done, r.err = true, err
	delete(g.requests, r)
	if err != nil {
		g.undo(r)
	}
	r.task.Loop().Post(r.task.Wake)
}

// undo takes back what a request that fails has added.
func (g *registry) undo(r *request) {
	for _, ch := range r.wants {
		ch.drop(r)
	}
	for _, ch := range r.added {
		g.leave(r.member, ch)
	}
	if r.member != nil {
		g.forgetUnused(r.member)
	}
}

// drop forgets a request that waits.
func (ch *channel) drop(r *request) {
	for i, x := range ch.waiting {
		if x == r {
			ch.waiting = append(ch.waiting[:i], ch.waiting[i+1:]...)
			return
		}
	}
}

// abandon is finish by the session itself, which waits no longer.
func (g *registry) abandon(r *request) {
	r.done = true
	delete(g.requests, r)
	g.undo(r)
}

// failOf answers the requests of a subscriber whose own way to a connection was refused.
func (g *registry) failOf(m *member, err error) {
	for r := range g.requests {
		if r.member == m {
			g.finish(r, err)
		}
	}
}

// failAll answers all requests, and tells all members that nothing will come any more.
func (g *registry) failAll(err error) {
	for r := range g.requests {
		g.finish(r, err)
	}
	for _, m := range g.members {
		m.inbox.fail(abandoned())
	}
}

// lost is the end of the connection: the next one is told everything. under way are the statements without an answer.
func (g *registry) lost(underWay []*command) {
	g.connected = false
	for _, c := range underWay {
		g.finishAll(c.flush, nil)
	}
	g.finishAll(g.flushes, nil)
	g.flushes = nil
	for _, ch := range g.channels {
		ch.state, ch.waiting = off, nil
		g.touch(ch)
	}
	for r := range g.requests { // what had been confirmed to them is to be confirmed again
		r.left = len(r.wants)
		for _, ch := range r.wants {
			ch.waiting = append(ch.waiting, r)
		}
	}
}

// lender is the member whose way to open a connection is used next, nil if there is none.
func (g *registry) lender() *member {
	if len(g.members) == 0 {
		return nil
	}
	g.turn = (g.turn + 1) % len(g.members)
	return g.members[g.turn]
}

// deliver puts a notification into the inbox of everybody who listens to its channel.
func (g *registry) deliver(n Notification, frame []byte, pidOf func(uint32) (uint32, bool)) {
	ch := g.channels[string(n.Channel)]
	if ch == nil || len(ch.members) == 0 {
		return
	}
	pid, ok := pidOf(n.PID)
	if !ok {
		pid = n.PID
	}
	it := item{frame: withPID(frame, pid), channel: ch.name}
	for _, m := range ch.members {
		m.inbox.put(it)
	}
}
