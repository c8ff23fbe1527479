package proxy

import (
	"slices"
	"sync"
	"sync/atomic"
)

// pauses are the databases whose statements are held. The zero value holds none.
type pauses struct {
	now atomic.Pointer[claims] // nil: nothing is paused

	mu    sync.Mutex // held by those who change now
	token uint64     // guarded by mu; of the last claim
}

// claims are the PAUSE commands in force, by database; "" stands for all of them. A value is never changed once it is published.
type claims map[string][]uint64

// covers reports whether the statements of a database are held.
func (p *pauses) covers(database string) bool {
	c := p.now.Load()
	return c != nil && (len((*c)[""]) > 0 || len((*c)[database]) > 0)
}

// add claims a pause of a database, "" for all, and returns its token. Like PgBouncer's console it refuses what is covered by a pause of
// all databases.
func (p *pauses) add(database string) (token uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.copyLocked()
	if len(c[""]) > 0 {
		return 0, errPausedAlready
	}
	p.token++
	c[database] = append(slices.Clone(c[database]), p.token)
	p.publishLocked(c)
	return p.token, nil
}

// holds reports whether a claim is still in force.
func (p *pauses) holds(database string, token uint64) bool {
	c := p.now.Load()
	return c != nil && slices.Contains((*c)[database], token)
}

// drop takes one claim back, if it is still in force, and reports whether that lets anything go.
func (p *pauses) drop(database string, token uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.copyLocked()
	left := slices.DeleteFunc(slices.Clone(c[database]), func(t uint64) bool { return t == token })
	if len(left) == len(c[database]) {
		return false
	}
	if c[database] = left; len(left) == 0 {
		delete(c, database)
	}
	p.publishLocked(c)
	return len(left) == 0
}

// end takes all claims on a database back.
func (p *pauses) end(database string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.copyLocked()
	if len(c[database]) == 0 {
		return notPaused(database)
	}
	delete(c, database)
	p.publishLocked(c)
	return nil
}

func (p *pauses) copyLocked() claims {
	out := make(claims)
	if c := p.now.Load(); c != nil {
		for database, tokens := range *c {
			out[database] = tokens
		}
	}
	return out
}

func (p *pauses) publishLocked(c claims) {
	if len(c) == 0 {
		p.now.Store(nil)
		return
	}
	p.now.Store(&c)
}
