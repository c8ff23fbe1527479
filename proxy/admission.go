package proxy

import (
	"sync"
	"time"

	"gopgpool/loop"
)

// slot is a place for one client session: what Pgpool-II has a process for. There are num_init_children of them, and their
// numbers stay the same for the life of the daemon, so that pid columns mean something to an operator.
type slot struct {
	pid     int
	mu      sync.Mutex
	start   time.Time // guarded by mu; of the "process"
	clients uint64    // guarded by mu; sessions finished since start
	freed   time.Time // guarded by mu
}

// admission deals out slots, first come first served.
type admission struct {
	mu       sync.Mutex
	free     []*slot // guarded by mu
	all      []*slot // never changed; nil where slots are made when they are needed
	most     int     // slots there can be
	made     int     // guarded by mu; of those made when needed
	firstPID int
	started  time.Time
	queue    []*slotWaiter // guarded by mu
	sockets  int           // guarded by mu; accepted and not closed
	bound    int           // guarded by mu; of sockets
	reserved int           // guarded by mu; reserved_connections
	bars     int           // guarded by mu; as long as there are any, nobody gets a slot
}

type slotWaiter struct {
	task *loop.Task
	got  *slot // guarded by admission.mu
}

func newAdmission(slots, bound, reserved, firstPID int, now time.Time) *admission {
	a := &admission{bound: bound, reserved: reserved, most: slots, made: slots}
	for i := range slots {
		a.all = append(a.all, &slot{pid: firstPID + i, start: now})
	}
	for i := slots - 1; i >= 0; i-- {
		a.free = append(a.free, a.all[i])
	}
	return a
}

// firstSharedPID is the first number of sessions that share their connections: servers' pids are smaller, so that it is clear who is meant.
const firstSharedPID = 1 << 30

// newSharedAdmission deals out the places of clients that share server connections: max_client_conn, without a process each.
func newSharedAdmission(clients int, now time.Time) *admission {
	return &admission{most: clients, firstPID: firstSharedPID, started: now}
}

// open counts an accepted socket. ok is false if it must be closed at once, late is true if a session is refused: it may only cancel.
func (a *admission) open() (late, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sockets >= a.bound+lateSockets {
		return true, false
	}
	a.sockets++
	return a.sockets > a.bound, true
}

// lateSockets are taken beyond the bound, to be asked what they want: a full server can be cancelled, and drivers read an error only
// after the TLS negotiation.
const lateSockets = 64

func (a *admission) closed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sockets--
}

// full reports whether reserved_connections refuses a further client instead of queueing it.
func (a *admission) full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reserved > 0 && a.made-len(a.free) >= a.most-a.reserved
}

// take waits for a slot. The client's connection is watched meanwhile: one that hangs up leaves the queue.
func (a *admission) take(t *loop.Task, client *loop.Conn) (*slot, error) {
	a.mu.Lock()
	if a.bars == 0 && len(a.free) == 0 && a.made < a.most {
		a.free = append(a.free, &slot{pid: a.firstPID + a.made, start: a.started})
		a.made++
	}
	if n := len(a.free); n > 0 && a.bars == 0 {
		s := a.free[n-1]
		a.free = a.free[:n-1]
		a.mu.Unlock()
		return s, nil
	}
	w := &slotWaiter{task: t}
	a.queue = append(a.queue, w)
	a.mu.Unlock()
	for {
		cause := t.Wait(time.Time{}, loop.Interest{Conn: client, HangUp: true})
		a.mu.Lock()
		got := w.got
		if got == nil && (cause == loop.Stopped || client.HungUp()) {
			a.removeLocked(w)
			a.mu.Unlock()
			if cause == loop.Stopped {
				return nil, loop.ErrStopped
			}
			return nil, errTerminated
		}
		a.mu.Unlock()
		if got != nil {
			return got, nil
		}
	}
}

func (a *admission) removeLocked(w *slotWaiter) {
	for i, x := range a.queue {
		if x == w {
			a.queue = append(a.queue[:i], a.queue[i+1:]...)
			return
		}
	}
}

// give ends the use of a slot.
func (a *admission) give(s *slot, now time.Time) {
	s.mu.Lock()
	s.clients++
	s.freed = now
	s.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, s)
	a.dealLocked()
}

// dealLocked gives free slots to those who wait.
func (a *admission) dealLocked() {
	for a.bars == 0 && len(a.queue) > 0 && len(a.free) > 0 {
		w, n := a.queue[0], len(a.free)-1
		a.queue = a.queue[1:]
		w.got, a.free = a.free[n], a.free[:n]
		w.task.Loop().Post(w.task.Wake)
	}
}

// bar keeps new clients waiting, or takes one such bar away.
func (a *admission) bar(up bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if up {
		a.bars++
		return
	}
	a.bars--
	a.dealLocked()
}

// busy tells how many slots are in use.
func (a *admission) busy() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.made - len(a.free)
}

// life returns when the slot's "process" began and how many clients it has finished, letting it begin anew after
// child_life_time without a client or child_max_connections clients, as Pgpool-II's processes do.
func (s *slot) life(now time.Time, lifeTime time.Duration, maxClients int) (start time.Time, clients uint64, left time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left = -1
	if s.clients == 0 {
		return s.start, 0, left
	}
	switch {
	case maxClients > 0 && s.clients >= uint64(maxClients):
		s.start, s.clients = s.freed, 0
	case lifeTime > 0:
		left = lifeTime - now.Sub(s.freed)
		if left <= 0 {
			s.start, s.clients, left = s.freed.Add(lifeTime), 0, -1
		}
	}
	return s.start, s.clients, left
}

// admission is where the session has its place.
func (s *session) admission() *admission {
	if s.pooled {
		return s.srv.shared
	}
	return s.srv.admitted
}
