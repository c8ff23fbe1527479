package web

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// maxConns bounds the connections of all listeners together.
const maxConns = 64

// bound keeps the number of connections small without keeping anybody out: when there are too many, the one that has waited longest for a
// request, or for the rest of one, is closed for the new one. So who opens connections and says nothing hurts himself.
type bound struct {
	most int
	mu   sync.Mutex
	open []*conn // guarded by mu; oldest first
	all  sync.WaitGroup
}

// conn is an accepted connection.
type conn struct {
	net.Conn
	in     *bound
	busy   atomic.Bool // a request is being answered
	closed sync.Once
}

// Close closes the connection; it may be called more than once, and by several.
func (c *conn) Close() error {
	c.closed.Do(func() { c.in.remove(c) })
	return c.Conn.Close()
}

// admit takes a connection in; nil if there is no room, because all are being answered.
func (b *bound) admit(raw net.Conn) *conn {
	c := &conn{Conn: raw, in: b}
	b.mu.Lock()
	var victim *conn
	if len(b.open) >= b.most {
		if victim = b.idlestLocked(); victim == nil {
			b.mu.Unlock()
			_ = raw.Close()
			return nil
		}
	}
	b.open = append(b.open, c)
	b.all.Add(1)
	b.mu.Unlock()
	if victim != nil {
		_ = victim.Close()
	}
	return c
}

func (b *bound) idlestLocked() *conn {
	for _, c := range b.open {
		if !c.busy.Load() {
			return c
		}
	}
	return nil
}

func (b *bound) remove(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.open {
		if x == c {
			b.open = append(b.open[:i], b.open[i+1:]...)
			b.all.Done()
			return
		}
	}
}

// renew moves a connection behind all others: it has waited for nothing so far.
func (b *bound) renew(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.open {
		if x == c {
			b.open = append(append(b.open[:i], b.open[i+1:]...), c)
			return
		}
	}
}

// connKey finds the connection in a request's context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// serving tells that a request is being answered, until the function returned is called.
func (b *bound) serving(ctx context.Context) (done func()) {
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok {
		return func() {}
	}
	c.busy.Store(true)
	return func() {
		b.renew(c)
		c.busy.Store(false)
	}
}

// limited is a listener under the bound.
type limited struct {
	net.Listener
	in *bound
}

// Accept returns the next connection there is room for.
func (l limited) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.in.admit(raw); c != nil {
			return c, nil
		}
	}
}
