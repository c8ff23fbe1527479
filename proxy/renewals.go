package proxy

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/pool"
)

// renewals tell since when the connections to a database are to be new ones; "" stands for all databases. The zero value asks for nothing.
type renewals struct {
	now atomic.Pointer[map[string]time.Time] // never changed once it is published

	mu sync.Mutex // held by those who change now
}

func (r *renewals) none() bool { return r.now.Load() == nil }

// add asks for connections that were begun after at.
func (r *renewals) add(database string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := make(map[string]time.Time)
	if m := r.now.Load(); m != nil && database != "" { // all databases: what was said before is covered
		maps.Copy(next, *m)
	}
	next[database] = at
	r.now.Store(&next)
}

// outdated reports whether a connection was begun before the last RECONNECT that is about it.
func (r *renewals) outdated(c *pool.Conn) bool {
	m := r.now.Load()
	if m == nil {
		return false
	}
	return !c.Created.After((*m)[""]) || !c.Created.After((*m)[c.Key.Database])
}
