package pool

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func ago(d time.Duration) time.Time { return time.Unix(1000, 0).Add(-d) }

func TestNext(t *testing.T) {
	db, other, user, another := &tally{}, &tally{}, &tally{}, &tally{}
	free := func(waited time.Duration) claim {
		return claim{since: ago(waited), own: 1, node: 1, db: 1, user: 1, dbOf: db, userOf: user}
	}
	with := func(c claim, f func(*claim)) claim { f(&c); return c }
	foreign := func(c *claim) { c.dbOf, c.userOf = other, another }
	ready := func(c *claim) { c.ready, c.own, c.node = true, 0, 0 }
	for _, tc := range []struct {
		name   string
		claims []claim
		want   int
	}{
		{"nobody", nil, -1},
		{"room for one", []claim{free(time.Second)}, 0},
		{"the pool is full", []claim{with(free(time.Second), func(c *claim) { c.own = 0 })}, -1},
		{"the node is full", []claim{with(free(time.Second), func(c *claim) { c.node = 0 })}, -1},
		{"the database is full", []claim{with(free(time.Second), func(c *claim) { c.db = -1 })}, -1},
		{"the user's bound is reached", []claim{with(free(time.Second), func(c *claim) { c.user = 0 })}, -1},
		{"who waits longest", []claim{free(1 * time.Second), free(3 * time.Second), free(2 * time.Second)}, 1},
		{"of equals the first", []claim{free(time.Second), free(time.Second)}, 0},
		{"who waits longest cannot be served", []claim{free(time.Second), with(free(2*time.Second), func(c *claim) { c.user = 0 })}, 0},
		{"a connection stays in its pool", []claim{with(free(0), ready), free(seniority / 2)}, 0},
		{"unless another has waited much longer", []claim{with(free(0), ready), free(2 * seniority)}, 1},
		{"a connection at hand though all is full", []claim{with(free(0), ready)}, 0},
		{
			"passed over a few times",
			[]claim{free(1), with(free(time.Second), func(c *claim) { c.user, c.passed = 0, passes{user: maxPassed - 1}; foreign(c) })},
			0,
		},
		{
			"passed over too often: the node's room is kept for him",
			[]claim{free(1), with(free(time.Second), func(c *claim) { c.user, c.passed = 0, passes{user: maxPassed}; foreign(c) })},
			-1,
		},
		{
			"passed over too often, but there is room for both",
			[]claim{
				with(free(1), func(c *claim) { c.node = 2 }),
				with(free(time.Second), func(c *claim) { c.node, c.user, c.passed = 2, 0, passes{user: maxPassed}; foreign(c) }),
			},
			0,
		},
		{
			"the database's room is kept",
			[]claim{
				with(free(1), func(c *claim) { c.node, c.userOf = 9, another }),
				with(free(time.Second), func(c *claim) { c.node, c.user, c.passed = 9, 0, passes{user: maxPassed} }),
			},
			-1,
		},
		{
			"the user's room is kept",
			[]claim{
				with(free(1), func(c *claim) { c.node, c.dbOf = 9, other }),
				with(free(time.Second), func(c *claim) { c.node, c.db, c.passed = 9, 0, passes{db: maxPassed} }),
			},
			-1,
		},
		{
			"nothing is kept for one whose own pool is full",
			[]claim{free(1), with(free(time.Second), func(c *claim) { c.own, c.passed = 0, passes{node: maxPassed} })},
			0,
		},
		{
			"nothing is kept from one who has waited longer",
			[]claim{free(time.Minute), with(free(time.Second), func(c *claim) { c.user, c.passed = 0, passes{user: maxPassed}; foreign(c) })},
			0,
		},
		{
			"nothing is kept for one who waits for what never becomes free",
			[]claim{free(1), with(free(time.Second), func(c *claim) { c.user, c.passed = 0, passes{node: maxPassed, db: maxPassed} })},
			0,
		},
		{
			"a connection at hand is kept for its place, too",
			[]claim{
				with(free(1), func(c *claim) { c.ready, c.own = true, 0 }),
				with(free(time.Second), func(c *claim) { c.db, c.passed = 0, passes{db: maxPassed}; foreign(c) }),
			},
			-1,
		},
		{
			"but not from one who has waited about as long",
			[]claim{
				with(free(1), func(c *claim) { c.ready, c.own = true, 0 }),
				with(free(seniority), func(c *claim) { c.db, c.passed = 0, passes{db: maxPassed}; foreign(c) }),
			},
			0,
		},
	} {
		if got := next(tc.claims); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// market is a model of pools that compete: in each step some connections end and what is free is given away.
type market struct {
	dbs, users []*tally
	used       map[*tally]int
	bound      map[*tally]int
	node       int // free
	claims     []claim
	held       []claim
}

func randomMarket(r *rand.Rand) *market {
	m := &market{used: map[*tally]int{}, bound: map[*tally]int{}, node: 2 + r.IntN(4)}
	for range 3 {
		d, u := &tally{places: 1}, &tally{places: 2}
		m.dbs, m.users = append(m.dbs, d), append(m.users, u)
		m.bound[d], m.bound[u] = 1+r.IntN(3), 1+r.IntN(3)
	}
	return m
}

// give gives away what is free and returns how many turns were given; it fails if a bound is exceeded.
func (m *market) give(t *testing.T) (given int) {
	for {
		for i := range m.claims {
			c := &m.claims[i]
			c.own, c.node = 1, m.node
			c.db, c.user = m.bound[c.dbOf]-m.used[c.dbOf], m.bound[c.userOf]-m.used[c.userOf]
		}
		i := next(m.claims)
		if i < 0 {
			return given
		}
		c := m.claims[i]
		if m.node <= 0 || c.db <= 0 || c.user <= 0 {
			t.Fatalf("given though there is no room: %+v", c)
		}
		for k := range m.claims {
			m.claims[k].passed.passOver(&m.claims[k], &c)
		}
		m.claims = append(m.claims[:i], m.claims[i+1:]...)
		m.held = append(m.held, c)
		m.node--
		m.used[c.dbOf]++
		m.used[c.userOf]++
		given++
	}
}

func (m *market) end(r *rand.Rand) {
	i := r.IntN(len(m.held))
	c := m.held[i]
	m.held = append(m.held[:i], m.held[i+1:]...)
	m.node++
	m.used[c.dbOf]--
	m.used[c.userOf]--
}

// Under several bounds at once, with newcomers for ever: the turn of each comes, after a bounded number of others.
func TestNobodyStarves(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 4))
		m := randomMarket(r)
		turn, since := 0, map[time.Time]int{}
		for step := range 1000 {
			for len(m.claims) < 9 {
				at := time.Unix(int64(step), int64(len(since)))
				m.claims = append(m.claims, claim{since: at, dbOf: m.dbs[r.IntN(3)], userOf: m.users[r.IntN(3)]})
				since[at] = turn
			}
			turn += m.give(t)
			for i := range m.claims {
				if waited := turn - since[m.claims[i].since]; waited > 20*maxPassed {
					t.Fatalf("seed %d: one has seen %d turns of others", seed, waited)
				}
			}
			if len(m.held) > 0 {
				m.end(r)
			}
		}
		if turn < 500 {
			t.Errorf("seed %d: only %d turns", seed, turn)
		}
	}
}

func TestBounds(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, tc := range []struct {
		b      Bounds
		have   int
		waited time.Duration
		want   int
	}{
		{Bounds{}, 100, 0, unbounded},
		{Bounds{Size: 3}, 1, 0, 2},
		{Bounds{Size: 3}, 5, 0, -2},
		{Bounds{Size: 3, Reserve: 2, ReserveAfter: time.Second}, 3, time.Second - 1, 0},
		{Bounds{Size: 3, Reserve: 2, ReserveAfter: time.Second}, 3, time.Second, 2},
		{Bounds{Size: 3, Reserve: 2}, 3, time.Hour, 0},
		{Bounds{Size: 3, ReserveAfter: time.Second}, 3, time.Hour, 0},
	} {
		if got := tc.b.room(tc.have, now.Add(-tc.waited), now); got != tc.want {
			t.Errorf("%+v with %d after %v: room %d, want %d", tc.b, tc.have, tc.waited, got, tc.want)
		}
	}
	for _, tc := range []struct {
		query  string
		delay  time.Duration
		idled  time.Duration
		checks bool
	}{
		{"", 0, time.Hour, false},
		{"SELECT 1", 0, 0, true},
		{"SELECT 1", 30 * time.Second, 29 * time.Second, false},
		{"SELECT 1", 30 * time.Second, 30 * time.Second, true},
	} {
		b := Bounds{CheckQuery: tc.query, CheckDelay: tc.delay}
		if got := b.mustCheck(tc.idled); got != tc.checks {
			t.Errorf("%+v: must check %v", tc, got)
		}
	}
}

// Connections opened together do not end together, and none lives longer than it may.
func TestLifeIsSpread(t *testing.T) {
	b, made, ends := Bounds{Lifetime: time.Hour}, time.Unix(1000, 0), map[string]bool{}
	for i := range 10 {
		end, ok := b.endOfLife(made, float64(i)/10)
		if age := end.Sub(made); !ok || age > time.Hour || age < 54*time.Minute {
			t.Errorf("ends after %v", age)
		}
		ends[fmt.Sprint(end)] = true
	}
	if len(ends) != 10 {
		t.Errorf("ends at %d times", len(ends))
	}
	if _, ok := (&Bounds{}).endOfLife(made, 0); ok {
		t.Error("ends without a lifetime")
	}
}

// Two who alternate under two bounds would never leave room under both to a third.
func TestAlternatingRivals(t *testing.T) {
	db, otherDB, user, otherUser := &tally{places: 1}, &tally{places: 2}, &tally{places: 3}, &tally{places: 4}
	m := &market{used: map[*tally]int{}, bound: map[*tally]int{db: 1, otherDB: 1, user: 1, otherUser: 1}, node: 10}
	rivals := func(step int) {
		at := time.Unix(int64(step), 1)
		m.claims = append(m.claims, claim{since: at, dbOf: db, userOf: otherUser}, claim{since: at, dbOf: otherDB, userOf: user})
	}
	rivals(0)
	m.give(t)
	third := claim{since: time.Unix(1, 0), dbOf: db, userOf: user}
	m.claims = append(m.claims, third)
	for step := range 3 * maxPassed {
		rivals(step + 1)
		c := m.held[0] // the one that is held longest ends
		m.held = m.held[1:]
		m.node++
		m.used[c.dbOf]--
		m.used[c.userOf]--
		m.give(t)
		for _, h := range m.held {
			if h.since.Equal(third.since) {
				if step > 2*maxPassed+2 {
					t.Errorf("after %d turns of others", step)
				}
				return
			}
		}
	}
	t.Error("the turn of the third never comes")
}
