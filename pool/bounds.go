package pool

import "time"

// Bounds are what the configuration sets for one pool: the connections of one Key. The names are those of PgBouncer's parameters.
type Bounds struct {
	Size         int           // default_pool_size, pool_size: connections at most; 0 = no bound
	Min          int           // min_pool_size: idle connections are not closed below it, see Lacking
	Reserve      int           // reserve_pool_size: so many more once somebody has waited for ReserveAfter
	ReserveAfter time.Duration // reserve_pool_timeout; 0 = the reserve is not used

	MaxDB   int // max_db_connections: connections of the node to the database, whoever the user; 0 = no bound
	MaxUser int // max_user_connections: connections of the node as the user, whatever the database; 0 = no bound

	IdleTime   time.Duration // server_idle_timeout: an idle connection is closed after this; 0 = never
	Lifetime   time.Duration // server_lifetime: a connection older than this is closed when nobody uses it; 0 = never
	CheckDelay time.Duration // server_check_delay: what has idled for so long has to be checked, see Conn.MustCheck; 0 = always
	CheckQuery string        // server_check_query; empty = nothing is ever checked

	WaitTimeout time.Duration // query_wait_timeout: how long Lease waits; 0 = for ever
}

// lifeSpread is the part of Bounds.Lifetime over which the ends of connections of one age are spread.
const lifeSpread = 0.1

// endOfLife is when a connection is too old. jitter, in [0,1), is the connection's own: those opened together do not end together.
func (b *Bounds) endOfLife(created time.Time, jitter float64) (end time.Time, ends bool) {
	if b.Lifetime <= 0 {
		return end, false
	}
	return created.Add(b.Lifetime - time.Duration(jitter*lifeSpread*float64(b.Lifetime))), true
}

// mustCheck tells whether a connection that has idled for so long has to be checked.
func (b *Bounds) mustCheck(idled time.Duration) bool {
	return b.CheckQuery != "" && idled >= b.CheckDelay
}

// unbounded is room enough for anything.
const unbounded = 1 << 30

// room is how many more connections the pool may have, with have of them and one who has waited since then.
func (b *Bounds) room(have int, since, now time.Time) int {
	if b.Size <= 0 {
		return unbounded
	}
	size := b.Size
	if b.reserveAt(since, now) {
		size += b.Reserve
	}
	return size - have
}

// reserveAt tells whether the reserve is open to one who has waited since then.
func (b *Bounds) reserveAt(since, now time.Time) bool {
	return b.Reserve > 0 && b.ReserveAfter > 0 && now.Sub(since) >= b.ReserveAfter
}

func roomUnder(bound, have int) int {
	if bound <= 0 {
		return unbounded
	}
	return bound - have
}
