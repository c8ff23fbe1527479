package proxy

import (
	"container/list"
	"time"
)

// This file is about the order and pace in which held sessions go on. It is pure: time is an argument, and whoever uses it from several
// loops holds a lock.

// tokens is a token bucket without a clock: it tells when something may happen, at rate times a second, of which those of burst may
// happen at once. The zero value is full.
type tokens struct{ next time.Time } // when there would be a token if there were no burst

// burst is for how long tokens are saved.
const burst = 100 * time.Millisecond

// take takes a token and returns when it is there: now, or later. rate 0 is no bound.
func (b *tokens) take(now time.Time, rate int) time.Time {
	if rate <= 0 {
		return now
	}
	each := time.Second / time.Duration(rate)
	saved := max(burst-each, 0)
	if b.next.Before(now) {
		b.next = now
	}
	due := b.next.Add(-saved)
	b.next = b.next.Add(each)
	if due.Before(now) {
		return now
	}
	return due
}

// ticket is one held statement, or login.
type ticket struct {
	number uint64    // they are in the order of their coming
	bytes  int64     // of its client's messages that are kept meanwhile
	due    time.Time // when it goes on; zero: what it waits for is not there
	at     *list.Element
}

// turnstile is who is held, and whose turn it is to go on. The zero value holds nobody.
type turnstile struct {
	last   uint64    // number of the last ticket
	held   list.List // of *ticket without a time to go on, the oldest first
	due    int       // those with one
	bytes  int64     // of all
	tokens tokens
}

// sessions is how many are held.
func (t *turnstile) sessions() int { return t.held.Len() + t.due }

// enter takes one in, unless that would be more than the bounds allow; 0 is no bound.
func (t *turnstile) enter(bytes int64, maxSessions int, maxBytes int64) (*ticket, fullness) {
	switch {
	case maxSessions > 0 && t.sessions() >= maxSessions:
		return nil, fullOfSessions
	case maxBytes > 0 && t.bytes+bytes > maxBytes:
		return nil, fullOfBytes
	}
	t.last++
	x := &ticket{number: t.last, bytes: bytes}
	x.at = t.held.PushBack(x)
	t.bytes += bytes
	return x, roomLeft
}

// leave is one that waits no longer, whatever the reason.
func (t *turnstile) leave(x *ticket) {
	t.bytes -= x.bytes
	if x.at == nil {
		t.due--
		return
	}
	t.held.Remove(x.at)
}

// turn is when one goes on for which what it waits for is there. Everybody who waits is given a time then, the oldest first: so the order
// does not depend on who asks first.
func (t *turnstile) turn(x *ticket, now time.Time, rate int) time.Time {
	for x.at != nil {
		first := t.held.Remove(t.held.Front()).(*ticket)
		first.at = nil
		first.due = t.tokens.take(now, rate)
		t.due++
	}
	return x.due
}

// again is one for which it is not there after all: it is as old as it was.
func (t *turnstile) again(x *ticket) {
	if x.at != nil {
		return
	}
	t.due--
	x.due = time.Time{}
	e := t.held.Back()
	for e != nil && e.Value.(*ticket).number > x.number {
		e = e.Prev()
	}
	if e == nil {
		x.at = t.held.PushFront(x)
		return
	}
	x.at = t.held.InsertAfter(x, e)
}

// fullness is whether somebody is taken in.
type fullness uint8

const (
	roomLeft fullness = iota
	fullOfSessions
	fullOfBytes
)
