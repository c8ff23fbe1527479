package pool

import "time"

// This file decides whose turn it is: pure functions over what the pools with waiters need.

// claim is the need of the first waiter of one pool. Its rooms say how many more connections each bound allows; idle connections of other
// pools, which can be closed to make room, are counted as room.
type claim struct {
	since  time.Time // when it began to wait
	ready  bool      // a connection of its own pool is idle: it needs no place
	own    int       // room in its pool
	node   int       // room of the node
	db     int       // room of the database
	user   int       // room of the user
	dbOf   *tally    // whose room db is: claims with the same one compete
	userOf *tally
	passed passes
}

// passes counts how often somebody younger has got room that another needs who could not use it alone.
type passes struct{ node, db, user int }

const (
	// seniority is how much longer somebody must have waited than the first of a connection's own pool for that connection to be closed
	// and its place given to him: about what opening is worth, so that busy pools do not take each other's places all the time. The
	// waiting times of pools that compete differ by no more than this, and what a transaction takes.
	seniority = 100 * time.Millisecond
	// maxPassed is how often one who needs room under several bounds is passed over under each of them. From then on what becomes free
	// under one is kept for him until there is room under all. For one bound under which nothing becomes free nothing is kept under others.
	maxPassed = 20
)

// fits tells whether the claim can be met now.
func (c *claim) fits() bool {
	return c.ready || c.own > 0 && c.node > 0 && c.db > 0 && c.user > 0
}

// rank orders claims: the earlier the sooner.
func (c *claim) rank() time.Time {
	if c.ready {
		return c.since.Add(-seniority)
	}
	return c.since
}

// blocked tells whether the claim waits for room that others could take from it. A full pool waits for itself.
func (c *claim) blocked() bool { return !c.fits() && c.own > 0 }

// insists tells whether room is kept for the claim.
func (c *claim) insists() bool {
	return c.blocked() && (c.node > 0 || c.passed.node >= maxPassed) && (c.db > 0 || c.passed.db >= maxPassed) &&
		(c.user > 0 || c.passed.user >= maxPassed)
}

// next picks the claim to be met: the one that waits longest of those that can be; -1 if none can.
func next(claims []claim) int {
	best := -1
	for i := range claims {
		if !claims[i].fits() || best >= 0 && !claims[i].rank().Before(claims[best].rank()) || keptFromClaim(claims, i) {
			continue
		}
		best = i
	}
	return best
}

// keptFromClaim tells whether the room that claim i takes, if only by using a connection that could make room, is kept for others.
func keptFromClaim(claims []claim, i int) bool {
	c := &claims[i]
	node, db, user := 0, 0, 0
	for k := range claims {
		o := &claims[k]
		if k == i || !o.insists() || !o.since.Before(c.rank()) {
			continue
		}
		node++
		if o.dbOf == c.dbOf {
			db++
		}
		if o.userOf == c.userOf {
			user++
		}
	}
	return node > 0 && (c.node <= node || db > 0 && c.db <= db || user > 0 && c.user <= user)
}

// passOver counts that claim c, which is younger than o, takes room that o needs.
func (p *passes) passOver(o, c *claim) {
	if !o.blocked() || !o.since.Before(c.rank()) {
		return
	}
	p.node++
	if o.dbOf == c.dbOf {
		p.db++
	}
	if o.userOf == c.userOf {
		p.user++
	}
}
