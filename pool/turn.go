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
	passed int // how often a younger one got what it needs, too
}

const (
	// seniority is how much longer somebody must have waited than the first of a connection's own pool for that connection to be closed
	// and its place given to him: about what opening is worth, so that busy pools do not take each other's places all the time. The
	// waiting times of pools that compete differ by no more than this, and what a transaction takes.
	seniority = 100 * time.Millisecond
	// maxPassed is how often one who needs room under several bounds is passed over by younger ones who need only some of it. From then
	// on what becomes free is kept for him.
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

// next picks the claim to be met: the one that waits longest of those that can be; -1 if none can.
func next(claims []claim) int {
	best := -1
	for i := range claims {
		if !claims[i].fits() || keptFromClaim(claims, i) {
			continue
		}
		if best < 0 || claims[i].rank().Before(claims[best].rank()) {
			best = i
		}
	}
	return best
}

// keptFromClaim tells whether the room claim i needs is kept for others who have been passed over too often.
func keptFromClaim(claims []claim, i int) bool {
	c := &claims[i]
	if c.ready {
		return false
	}
	node, db, user := 0, 0, 0
	for k := range claims {
		o := &claims[k]
		if k == i || !o.blocked() || o.passed < maxPassed || !o.since.Before(c.since) {
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
	return c.node <= node || c.db <= db || c.user <= user
}

// passedBy tells whether claim o is passed over when claim c, which is younger, is met.
func passedBy(o, c *claim) bool { return !c.ready && o.blocked() && o.since.Before(c.since) }
