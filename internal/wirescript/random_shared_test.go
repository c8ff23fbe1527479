package wirescript_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"

	"gopgpool/internal/wirescript"
)

// sessionsAtOnce is how many sessions a shared script has, sharedConnections how many server connections they have.
const (
	sessionsAtOnce    = 8
	sharedConnections = 3
)

// TestRandomShared lets sessions with state of their own take turns on fewer server connections than there are of them. Each must be
// answered as one that has a server process for itself.
func TestRandomShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.database(t, "shared_direct")
	w.database(t, "shared_pooled")
	direct := w.direct(shared.Cluster(t).Nodes[0], "shared_direct")
	p := w.pgpool(t, map[string]string{
		"pool_mode": "transaction", "default_pool_size": fmt.Sprint(sharedConnections), "max_prepared_statements": "4",
	}, 1)
	pooled := w.target(net.JoinHostPort(p.Host, fmt.Sprint(p.Port)), "shared_pooled", 0)
	first, count := fromEnv(t, seedEnv, 1), fromEnv(t, countEnv, 10)
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			text := sharedScript(uint64(seed))
			script, err := wirescript.Parse(fmt.Sprintf("seed %d", seed), text)
			if err != nil {
				t.Fatal(err)
			}
			want, err := script.Run(t.Context(), direct)
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(want.Lines(), "\n"))
			}
			if d := difference(t, script, want, pooled); d != "" {
				t.Error(d)
				if os.Getenv(shrinkEnv) != "" {
					t.Fatal(shrink(t, text, direct, pooled))
				}
			}
		})
	}
}

// sharedScript writes a script in which sessions take turns. Only two of them may be within a transaction at a time, so that there is
// always a connection for the others; and nobody leaves what keeps a session on its connection.
func sharedScript(seed uint64) string {
	dice := rand.New(rand.NewPCG(seed, 20261121))
	var out strings.Builder
	out.WriteString("setup CREATE TABLE IF NOT EXISTS rnd (a int PRIMARY KEY, b int); DELETE FROM rnd; " +
		"INSERT INTO rnd SELECT i, 10 * i FROM generate_series(1, 5) i\n")
	inside := map[int]bool{}
	for range 60 + dice.IntN(60) {
		n := dice.IntN(sessionsAtOnce)
		a := &sharer{author: author{dice: dice}, inside: inside[n], alone: !inside[n] && len(inside) >= sharedConnections-1}
		a.turn()
		for line := range strings.Lines(a.out.String()) {
			fmt.Fprintf(&out, "%c: %s", 'a'+n, line)
		}
		if delete(inside, n); a.inside {
			inside[n] = true
		}
	}
	return out.String()
}

// sharer writes one turn of a session.
type sharer struct {
	author
	inside bool // a transaction
	alone  bool // it may not begin one
}

func (a *sharer) turn() {
	switch {
	case a.inside && a.dice.IntN(3) == 0:
		a.say("query %s\n< Z", a.pick("COMMIT", "ROLLBACK"))
		a.inside = false
	case !a.inside && !a.alone && a.dice.IntN(6) == 0:
		a.say("query BEGIN\n< Z")
		a.inside = true
	case a.dice.IntN(3) == 0:
		a.say("query %s\n< Z", a.sql())
	default:
		for range 1 + a.dice.IntN(4) {
			a.step()
		}
		a.say("sync\n< Z")
	}
}

// texts are what a name stands for; the first two sessions that prepare it have the same.
func (a *sharer) text(name string) string {
	if name == "s9" {
		return a.pick("SELECT $1::int + 1 AS x", "SELECT $1::text AS y")
	}
	return "SELECT $1::int + " + name[1:] + " AS x, current_setting('work_mem') AS m"
}

func (a *sharer) step() {
	name := "s" + a.pick("1", "2", "3", "4", "5", "6", "9")
	switch a.dice.IntN(9) {
	case 0, 1:
		a.say("parse %s%s %s", name, a.pick("", "", "(int4)"), a.text(name))
	case 2:
		a.say("close S %s", name)
	case 3:
		a.say("describe S %s", name)
	case 4, 5, 6:
		a.say("bind - %s %s\ndescribe P -\nexecute -", name, a.pick("5", "6", "nonsense"))
	default:
		a.say("parse - %s\nbind - -\nexecute -", a.sql())
	}
}

func (a *sharer) sql() string {
	name := "s" + a.pick("1", "2", "3", "9")
	n := fmt.Sprint(1 + a.dice.IntN(20))
	switch a.dice.IntN(10) {
	case 0:
		return "PREPARE " + name + " (int) AS " + strings.TrimSuffix(a.text("s1"), " AS m")
	case 1:
		return "EXECUTE " + name + " (" + n + ")"
	case 2:
		return a.pick("DEALLOCATE "+name, "DEALLOCATE "+name, "DEALLOCATE ALL", "DISCARD PLANS", "EXPLAIN (COSTS OFF) EXECUTE "+name+" (1)")
	case 3:
		return a.pick("SET work_mem = '"+n+"MB'", "RESET work_mem", "SET application_name = 'app "+n+"'", "SET search_path = public, pg_catalog",
			"RESET ALL", "SELECT set_config('work_mem', '"+n+"MB', false)", "SET LOCAL work_mem = '"+n+"MB'")
	case 4:
		return a.pick("SELECT 1/0", "SELEKT", "SELECT * FROM nosuch")
	case 5:
		return "SELECT name, statement, from_sql FROM pg_prepared_statements WHERE from_sql ORDER BY 1"
	}
	return a.pick("SELECT current_setting('work_mem'), current_setting('application_name')", "SELECT a, b FROM rnd ORDER BY a", "SELECT "+n)
}
