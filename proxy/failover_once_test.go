package proxy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// fate is what a client was told of a row it wanted to insert.
type fate uint8

const (
	unsaid   fate  = iota // nothing, or that it may be there
	done                  // it is there
	undone                // it is not
	attempts = 120        // of a client
)

// form is a way to insert one row, as what is sent at once each time and how many ReadyForQuery answer it.
type form func(sql string) []exchange

func forms() []form {
	q := func(sql string) []byte { return pgwire.AppendQuery(nil, sql) }
	return []form{
		func(sql string) []exchange { return []exchange{{q(sql), 1}} },
		func(sql string) []exchange { return []exchange{{extended(sql), 1}} },
		func(sql string) []exchange {
			return []exchange{{q("BEGIN"), 1}, {q("SELECT 1"), 1}, {q(sql), 1}, {q("SELECT 1"), 1}, {q("COMMIT"), 1}}
		},
		func(sql string) []exchange {
			return []exchange{{slices.Concat(q("BEGIN"), q(sql), q("COMMIT")), 3}}
		},
		func(sql string) []exchange { return []exchange{{synced(run("BEGIN"), run(sql), run("COMMIT")), 1}} },
		func(sql string) []exchange {
			return []exchange{{flushed(run("BEGIN"), run(sql)), 0}, {flushed(run("COMMIT")), 0}, {synced(), 1}}
		},
		func(sql string) []exchange { return []exchange{{flushed(run(sql)), 0}, {synced(run("SELECT 1")), 1}} },
		func(sql string) []exchange {
			return []exchange{{synced(pgwire.AppendParse(nil, "", "SELECT 1"), pgwire.AppendBind(nil, "p", ""), run(sql), pgwire.AppendExecute(nil, "p")), 1}}
		},
	}
}

// insertOne carries out a form. It tells what becomes of the row, and whether the session goes on.
func insertOne(tb testing.TB, c *fakepg.Client, steps []exchange) (f fate, alive bool) {
	f = done
	for _, x := range steps {
		c.Send(x.send)
		for n := 0; n < x.ready; {
			m, err := c.TryNext()
			if err != nil {
				if f == done {
					tb.Errorf("the end without an error: %v", err)
				}
				return f, false
			}
			switch m.Type {
			case pgwire.ReadyForQuery:
				n++
			case pgwire.ErrorResponse:
				e := pgwire.ReadFields([]byte(m.Body))
				f = undone
				if strings.Contains(e.Detail, maybe) {
					f = unsaid
				}
				if !stormy(e) {
					tb.Errorf("got %+v", e)
				}
			}
		}
		if f != done {
			c.Close() // whatever is open is undone
			return f, false
		}
	}
	return f, true
}

// committed counts how often each statement has taken effect, by what a server connection was sent.
func committed(c *fakepg.Conn, count map[string]int) {
	var pending []string
	inBlock := false
	parsed, portals := "", make(map[string]string)
	execute := func(sql string) {
		switch sql {
		case "BEGIN":
			inBlock = true
		case "ROLLBACK", "ABORT":
			inBlock, pending = false, nil
		case idQuestionText:
		case "COMMIT":
			inBlock = false
			for _, x := range pending {
				count[x]++
			}
			pending = nil
		default:
			pending = append(pending, sql)
		}
	}
	for _, m := range c.Received() {
		name, rest, _ := pgwire.CString([]byte(m.Body))
		switch m.Type {
		case pgwire.Query:
			execute(string(name))
		case pgwire.Parse:
			text, _, _ := pgwire.CString(rest)
			parsed = string(text)
		case pgwire.Bind:
			portals[string(name)] = parsed
		case pgwire.Execute:
			execute(portals[string(name)])
		}
		if !inBlock && (m.Type == pgwire.Query || m.Type == pgwire.Sync) {
			for _, x := range pending {
				count[x]++
			}
			pending = nil
		}
	}
}

// TestOnceAndTruly: under Views without a pause no statement runs twice; what was acknowledged has run, and what is said to have had no
// effect has had none.
func TestOnceAndTruly(t *testing.T) {
	t.Run("with a script", func(t *testing.T) { onceAndTruly(t, "") })
	t.Run("without scripts", func(t *testing.T) { onceAndTruly(t, "auto_failover = on\n") })
}

func onceAndTruly(t *testing.T, conditions string) {
	const clients = 6
	w := maps.Clone(stateful())
	w[idQuestionText] = fateful("committed")[idQuestionText]
	row := func(client, n int) string { return fmt.Sprintf("INSERT INTO t VALUES (%d, %d)", client, n) }
	for i := range clients {
		for n := range attempts {
			w[row(i, n)] = fakepg.Answer{Tag: "INSERT 0 1"}
		}
	}
	p := newTestProxy(t, setup{
		world: w, nodes: 3, loops: 2,
		conf:  "statement_level_load_balance = on\nread_only_function_list = '.*'\n" + conditions,
		tweak: func(c *conf.Config) { c.Pool.NumInitChildren = clients + 2 },
	})
	s := &storm{testProxy: p, tb: t}
	s.lag(fakepg.Asked, fakepg.Completed)
	stop := make(chan struct{})
	var all, sky sync.WaitGroup
	sky.Go(func() { s.weather(rand.New(rand.NewPCG(3, 9)), stop) })
	fates := make([][attempts]fate, clients)
	for i := range clients {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(i), 5))
			var c *fakepg.Client
			for n := range attempts {
				if c == nil {
					c = p.start(t, "victim")
					if !s.answered(c, exchange{ready: 1}, "login") {
						c, fates[i][n] = nil, undone
						continue
					}
				}
				f, alive := insertOne(t, c, forms()[dice.IntN(len(forms()))](row(i, n)))
				fates[i][n] = f
				if !alive {
					c = nil
				}
			}
			if c != nil {
				c.Close()
			}
		})
	}
	all.Wait()
	close(stop)
	sky.Wait()
	p.rest()
	count, told := make(map[string]int), make(map[fate]int)
	for _, f := range p.fakes {
		for _, c := range f.Conns() {
			committed(c, count)
		}
	}
	for i := range clients {
		for n, f := range fates[i] {
			told[f]++
			times := count[row(i, n)]
			if times > 1 || f == done && times != 1 || f == undone && times != 0 {
				t.Errorf("client %d row %d: told %d, committed %d times", i, n, f, times)
			}
		}
	}
	if told[done] == 0 || told[undone] == 0 {
		t.Errorf("no storm: %v", told)
	}
	t.Logf("acknowledged %d, said to have had no effect %d, unknown %d", told[done], told[undone], told[unsaid])
}
