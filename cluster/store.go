package cluster

import (
	"sync"
	"sync/atomic"
)

// Store publishes the current View, Gauges and Needs. Views are written by failover's coordinator alone, gauges by health alone, needs by
// replication's keeper alone; everybody else reads. The zero Store is not usable, see NewStore.
type Store struct {
	view   atomic.Pointer[View]
	gauges atomic.Pointer[Gauges]
	needs  atomic.Pointer[Needs]

	mu       sync.Mutex
	watchers map[int]func(*View) // guarded by mu
	next     int                 // guarded by mu
}

// NewStore starts with the given View and no measurements.
func NewStore(first *View) *Store {
	s := &Store{watchers: make(map[int]func(*View))}
	s.view.Store(first)
	s.gauges.Store(&Gauges{})
	s.needs.Store(new(Needs))
	return s
}

// Current returns the View in force. Take it once per decision and pass it down.
func (s *Store) Current() *View { return s.view.Load() }

// Gauges returns the latest measurements.
func (s *Store) Gauges() *Gauges { return s.gauges.Load() }

// Publish replaces the View and sets its generation to the next one. Only failover's coordinator calls it, from one goroutine.
// Watchers are called before it returns, on the caller's goroutine; they must not block.
func (s *Store) Publish(v *View) {
	v.Generation = s.view.Load().Generation + 1
	s.view.Store(v)
	s.mu.Lock()
	calls := make([]func(*View), 0, len(s.watchers))
	for _, f := range s.watchers {
		calls = append(calls, f)
	}
	s.mu.Unlock()
	for _, f := range calls {
		f(v)
	}
}

// PublishGauges replaces the measurements. Only health calls it, from one goroutine.
func (s *Store) PublishGauges(g *Gauges) { s.gauges.Store(g) }

// Needs returns what waits for somebody at a server's host.
func (s *Store) Needs() Needs { return *s.needs.Load() }

// PublishNeeds replaces them. Only replication's keeper calls it, and changes n no more.
func (s *Store) PublishNeeds(n Needs) { s.needs.Store(&n) }

// Watch calls f with every View published from now on, until the returned function is called.
func (s *Store) Watch(f func(*View)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.watchers[id] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, id)
	}
}
