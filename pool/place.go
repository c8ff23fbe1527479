package pool

import (
	"time"

	"gopgpool/cluster"
)

// Place is the pool of one Key: its connections, its bounds and those who wait for it. A session keeps the pointer, so that nothing has
// to be looked up for each transaction.
type Place struct {
	key Key

	// All below is guarded by Pool.mu.
	bounds   Bounds
	governed bool // bounds were given: they say how long connections live, not Limits
	linked   bool // in Pool.places: what nobody has used for a while is not, until it is used again
	node     *space
	db, user *tally
	idle     connList
	queue    waitList
	leased   int
	opening  int // places reserved: somebody opens, or is about to
	paused   bool
	pausedAt time.Time
	held     bool // see Hold
	uncached bool // connections to the database never idle
	era      uint64
	passed   passes // of its first waiter
	used     time.Time
	kept     any
	counts
}

// Key is for whom the place is.
func (pl *Place) Key() Key { return pl.key }

func (pl *Place) total() int { return pl.leased + pl.opening + pl.idle.n }

// tally counts the connections under one bound.
type tally struct {
	total  int // leased, idle and being opened
	idle   int
	places int // that count here
}

// space is what a node has.
type space struct {
	tally
	dbs     map[string]*tally
	users   map[string]*tally
	waiting []*Place // those with waiters
}

// Place finds or makes the place of a key and puts the bounds in force for it.
func (p *Pool) Place(key Key, b Bounds) *Place {
	p.mu.Lock()
	pl := p.placeLocked(key)
	changed := !pl.governed || pl.bounds != b
	pl.bounds, pl.governed = b, true
	var out outcome
	if changed {
		p.settleLocked(pl.node, time.Now(), &out)
	}
	p.mu.Unlock()
	out.carryOut(nil)
	return pl
}

// SetBounds asks f for the bounds of every place that has some, after a reload. f must not call the pool.
func (p *Pool) SetBounds(f func(Key) Bounds) {
	p.mu.Lock()
	for _, pl := range p.places {
		if pl.governed {
			pl.bounds = f(pl.key)
		}
	}
	var out outcome
	p.settleAllLocked(time.Now(), &out)
	p.mu.Unlock()
	out.carryOut(nil)
}

func (p *Pool) placeLocked(key Key) *Place {
	if pl := p.places[key]; pl != nil {
		return pl
	}
	pl := &Place{key: key, uncached: !cacheable(key.Database)}
	p.linkLocked(pl)
	return pl
}

// liveLocked is the place that counts for a kept pointer: itself, unless it was forgotten and another has come.
func (p *Pool) liveLocked(pl *Place) *Place {
	if pl.linked {
		return pl
	}
	if now := p.places[pl.key]; now != nil {
		return now
	}
	p.linkLocked(pl)
	return pl
}

func (p *Pool) linkLocked(pl *Place) {
	n := p.spaceLocked(pl.key.Node)
	pl.linked, pl.node = true, n
	pl.db, pl.user = tallyOf(n.dbs, pl.key.Database), tallyOf(n.users, pl.key.User)
	pl.held = p.held[pl.key.Database] > 0
	pl.used = time.Now()
	pl.paused, pl.pausedAt = p.pausedLocked(pl.key.Database), pl.used
	p.places[pl.key] = pl
}

func tallyOf(m map[string]*tally, name string) *tally {
	t := m[name]
	if t == nil {
		t = &tally{}
		m[name] = t
	}
	t.places++
	return t
}

func (p *Pool) spaceLocked(node cluster.NodeID) *space {
	n := p.nodes[node]
	if n == nil {
		n = &space{dbs: make(map[string]*tally), users: make(map[string]*tally)}
		p.nodes[node] = n
	}
	return n
}

// placeRest is how long a place without connections and waiters is remembered, maxPlaces how many of those are at most.
const (
	placeRest = time.Minute
	maxPlaces = 10000
)

// forgetLocked drops places nobody has used for a while.
func (p *Pool) forgetLocked(now time.Time) {
	many := len(p.places) > maxPlaces
	for key, pl := range p.places {
		filled := pl.bounds.Min > 0 && pl.kept != nil
		if pl.total() > 0 || pl.queue.n > 0 || filled || !many && now.Sub(pl.used) < placeRest {
			continue
		}
		delete(p.places, key)
		p.keepLocked(pl)
		pl.linked, pl.kept = false, nil
		dropTally(pl.node.dbs, key.Database)
		dropTally(pl.node.users, key.User)
	}
}

func dropTally(m map[string]*tally, name string) {
	if t := m[name]; t != nil {
		if t.places--; t.places == 0 {
			delete(m, name)
		}
	}
}

// addLocked and subLocked count a connection, under all bounds.
func (pl *Place) addLocked() { pl.node.total++; pl.db.total++; pl.user.total++ }
func (pl *Place) subLocked() { pl.node.total--; pl.db.total--; pl.user.total-- }

// reserveLocked counts a connection that is going to be opened.
func (pl *Place) reserveLocked() {
	pl.opening++
	pl.addLocked()
}

// unreserveLocked counts one that is not.
func (pl *Place) unreserveLocked() {
	if pl.opening == 0 {
		panic("pool: more places given back than reserved")
	}
	pl.opening--
	pl.subLocked()
}

// goneLocked counts the end of a leased connection, or of one being opened.
func (pl *Place) goneLocked(c *Conn) {
	if c.opening {
		pl.unreserveLocked()
		return
	}
	if pl.leased == 0 {
		panic("pool: more connections given back than leased")
	}
	pl.leased--
	pl.subLocked()
	pl.closed++
}
