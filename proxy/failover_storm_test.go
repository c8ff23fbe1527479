package proxy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// storm is a number of clients of every kind under Views that follow each other without a pause.
type storm struct {
	*testProxy
	tb testing.TB

	mu   sync.Mutex
	next chan struct{} // guarded by mu; closed with the next View
	over bool          // guarded by mu
}

// beat tells the servers that a View was published. The last one ends their waiting.
func (s *storm) beat(last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
	}
	s.next, s.over = make(chan struct{}), last
}

// lag has every fourth statement of the servers wait for the next View.
func (s *storm) lag(moments ...fakepg.Moment) {
	s.beat(false)
	var n atomic.Int64
	for _, at := range moments {
		for _, f := range s.fakes {
			f.Misbehave(fakepg.Fault{At: at, Do: func(c *fakepg.Conn) bool {
				s.mu.Lock()
				next, over := s.next, s.over
				s.mu.Unlock()
				if !over && n.Add(1)%4 == 0 {
					return fakepg.Wait(next)(c)
				}
				return true
			}})
		}
	}
}

// exchange is something a client sends and how many ReadyForQuery answer it.
type exchange struct {
	send  []byte
	ready int
}

func exchanges() []exchange {
	big := "INSERT INTO t VALUES ('" + strings.Repeat("x", 100<<10) + "')"
	q := func(sql string) exchange { return exchange{pgwire.AppendQuery(nil, sql), 1} }
	long := strings.Repeat(" ", offloadParse) + "SELECT 1"
	return []exchange{
		q("SELECT 1"), q("SELECT 1"), q(insert), q("SELECT 1 FROM t"), q(long), q(big), q("SET work_mem TO '5MB'"), q("DISCARD ALL"), q(manyRows),
		{extended("SELECT 1"), 1},
		{extended(insert), 1},
		{synced(run("BEGIN"), run(insert), run("SELECT 1"), run("COMMIT")), 1},
		{slices.Concat(extended(insert), extended("SELECT 1"), extended(insert)), 3},
		{slices.Concat(pgwire.AppendQuery(nil, "BEGIN"), pgwire.AppendQuery(nil, "SELECT 1"), pgwire.AppendQuery(nil, insert),
			pgwire.AppendQuery(nil, "COMMIT")), 4},
		{slices.Concat(pgwire.AppendQuery(nil, "BEGIN"), pgwire.AppendQuery(nil, "FAILS"), pgwire.AppendQuery(nil, "ROLLBACK")), 3},
		{synced(pgwire.AppendParse(nil, "big", big), pgwire.AppendClose(nil, 'S', "big")), 1},
		{slices.Concat(pgwire.AppendQuery(nil, copyIn), pgwire.AppendBody(nil, pgwire.CopyData, make([]byte, 100<<10)),
			pgwire.AppendSimple(nil, pgwire.CopyDone)), 1},
		{slices.Concat(pgwire.AppendQuery(nil, "PREPARE a AS SELECT 1"), pgwire.AppendQuery(nil, "DEALLOCATE ALL")), 2},
		{synced(flushed(pgwire.AppendParse(nil, "", "SELECT 1"), pgwire.AppendBind(nil, "p", ""), run(insert), pgwire.AppendExecute(nil, "p"))), 1},
	}
}

// stormy are the errors a client may get: those of the servers' own, and those that say what a failover did to it.
func stormy(f pgwire.Fields) bool {
	switch f.Code {
	case "08006", "08007":
		return f.Severity == "ERROR" || strings.Contains(f.Detail, "effect") || strings.Contains(f.Detail, "cannot be moved")
	case "42601", "25P02", "40001", "57014":
		return f.Severity == "ERROR"
	}
	return false
}

// client works until its time is over. Whatever it sends is answered in full, or its session ends with one error that may be.
func (s *storm) client(seed uint64, rounds int) {
	dice := rand.New(rand.NewPCG(seed, 1))
	all := exchanges()
	var c *fakepg.Client
	for range rounds {
		if c == nil {
			c = s.start(s.tb, fmt.Sprint("user", seed%3))
			if !s.answered(c, exchange{ready: 1}, "login") {
				c = nil
				continue
			}
		}
		x := all[dice.IntN(len(all))]
		c.Send(x.send)
		switch dice.IntN(12) {
		case 0:
			c.Close()
			c = nil
		case 1:
			c.Send(pgwire.AppendSimple(nil, pgwire.Terminate))
			c.UntilEnd()
			c = nil
		default:
			if !s.answered(c, x, string(x.send[:min(len(x.send), 60)])) {
				c = nil
			}
		}
	}
	if c != nil {
		c.Close()
	}
}

// answered reads the answers; it reports whether the session goes on.
func (s *storm) answered(c *fakepg.Client, x exchange, what string) bool {
	var got []fakepg.Message
	for n := 0; n < x.ready; {
		m, err := c.TryNext()
		if err != nil {
			errs := errorsOf(got)
			if len(errs) == 0 || errs[len(errs)-1].Severity != "FATAL" {
				s.tb.Errorf("%q: %v after %s", what, err, tail(got))
			}
			return false
		}
		got = append(got, m)
		if m.Type == pgwire.ErrorResponse {
			if f := pgwire.ReadFields([]byte(m.Body)); !stormy(f) {
				s.tb.Errorf("%q got %+v", what, f)
			}
		}
		if m.Type == pgwire.ReadyForQuery {
			n++
		}
	}
	return true
}

func tail(got []fakepg.Message) string { return fakepg.Transcript(got[max(0, len(got)-5):]) }

// weather publishes Views: failovers of the primary with and without a pause, losses of standbys, and nodes that come back.
func (s *storm) weather(dice *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			s.publish(s.tb, func(v *cluster.View) { calm(v) })
			s.beat(true)
			return
		default:
		}
		n := cluster.NodeID(dice.IntN(3))
		s.publish(s.tb, func(v *cluster.View) { lose(v, n) })
		s.beat(false)
		for range dice.IntN(3) {
			s.onLoops(func(*home) {})
		}
		if dice.IntN(2) == 0 {
			other := cluster.NodeID(dice.IntN(3))
			s.publish(s.tb, func(v *cluster.View) { lose(v, other) })
		}
		s.publish(s.tb, func(v *cluster.View) { calm(v) })
		for range dice.IntN(50) {
			s.onLoops(func(*home) {})
		}
	}
}

// lose condemns a node.
func lose(v *cluster.View, id cluster.NodeID) {
	n := &v.Nodes[id]
	n.Status = cluster.StatusDown
	n.Epoch++
	n.Fenced = n.Epoch
	if v.Primary == id {
		v.Primary, v.Seeking, v.Op = cluster.NoNode, true, cluster.OpFailover
	}
}

// calm takes all nodes in again and finds a primary if there is none.
func calm(v *cluster.View) {
	for i := range v.Nodes {
		if n := &v.Nodes[i]; n.Status == cluster.StatusDown {
			n.Status = cluster.StatusUp
			n.Epoch++
		}
	}
	if v.Seeking {
		id := (v.Generation + 1) % cluster.Generation(len(v.Nodes))
		crown(cluster.NodeID(id))(v)
	}
}

// TestStorm: whatever a client is at when Views change, it is answered, or told by one error what has become of it; and in the end
// nothing is left.
func TestStorm(t *testing.T) {
	for _, mode := range []string{"on", "off"} {
		t.Run("load balancing "+mode, func(t *testing.T) {
			w := maps.Clone(effects())
			p := newTestProxy(t, setup{
				world: w, nodes: 3, loops: 2,
				conf:  "statement_level_load_balance = on\nrelcache_size = 1\nload_balance_mode = " + mode + "\nread_only_function_list = '.*'\n",
				tweak: func(c *conf.Config) { c.Pool.NumInitChildren = 12 },
			})
			s := &storm{testProxy: p, tb: t}
			s.lag(fakepg.Started, fakepg.Asked, fakepg.HalfRow)
			stop := make(chan struct{})
			var clients, sky sync.WaitGroup
			sky.Go(func() { s.weather(rand.New(rand.NewPCG(7, 7)), stop) })
			for i := range uint64(8) {
				clients.Go(func() { s.client(i, 60) })
			}
			clients.Wait()
			close(stop)
			sky.Wait()
		})
	}
}
