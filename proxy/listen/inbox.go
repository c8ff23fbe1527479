package listen

import (
	"sync"

	"gopgpool/loop"
)

// DefaultLimit is a reasonable limit of an Inbox, in bytes.
const DefaultLimit = 4 << 20

// itemCost is what a waiting notification costs beside its bytes.
const itemCost = 64

// Inbox are the notifications that wait for one session. The hub fills it from any loop, the session empties it. It holds no
// more than its limit: a session that lets more come up has to end, for what it has missed cannot be told.
type Inbox struct {
	loop  *loop.Loop
	wake  func()
	limit int

	mu    sync.Mutex
	items []item // guarded by mu; from head on they wait
	head  int    // guarded by mu
	bytes int    // guarded by mu
	told  bool   // guarded by mu: wake was posted since it was empty
	err   error  // guarded by mu
}

// item is one notification. Its frame is shared with other sessions.
type item struct {
	frame   []byte
	channel string
}

// NewInbox makes the inbox of a session that lives on l and is to hold limit bytes at most. wake is called on l when something
// has come into the empty inbox or Err has become other than nil; it may come late, even after Hub.Leave.
func NewInbox(l *loop.Loop, limit int, wake func()) *Inbox {
	return &Inbox{loop: l, wake: wake, limit: limit}
}

// Pending reports whether notifications wait.
func (b *Inbox) Pending() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head < len(b.items)
}

// Err is why the session has to end with a FATAL error (an *Error), nil as long as it need not: the limit was passed, or
// nobody receives notifications for it any more.
func (b *Inbox) Err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Append takes waiting notifications, in order, and appends the messages to dst until dst has limit bytes or more; those of
// channels for which wanted reports false are dropped (the session has said UNLISTEN, or has not committed LISTEN). The
// caller writes dst between two messages, outside a transaction.
func (b *Inbox) Append(dst []byte, limit int, wanted func(channel string) bool) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.head < len(b.items) && len(dst) < limit {
		it := &b.items[b.head]
		if wanted(it.channel) {
			dst = append(dst, it.frame...)
		}
		b.bytes -= len(it.frame) + itemCost
		*it = item{}
		b.head++
	}
	if b.head == len(b.items) {
		b.items, b.head, b.told = nil, 0, false
	}
	return dst
}

// put adds a notification. It reports false when the inbox takes no more.
func (b *Inbox) put(it item) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch cost := len(it.frame) + itemCost; {
	case b.err != nil:
		return false
	case b.bytes+cost > b.limit:
		b.failLocked(overflowed())
		return false
	default:
		b.bytes += cost
	}
	if b.head > 1024 && b.head > len(b.items)/2 {
		b.items = append([]item(nil), b.items[b.head:]...)
		b.head = 0
	}
	b.items = append(b.items, it)
	b.tellLocked()
	return true
}

func (b *Inbox) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.failLocked(err)
	}
}

func (b *Inbox) failLocked(err error) {
	b.err = err
	b.items, b.head, b.bytes, b.told = nil, 0, 0, false
	b.tellLocked()
}

func (b *Inbox) tellLocked() {
	if !b.told {
		b.told = true
		b.loop.Post(b.wake)
	}
}
