package route

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gopgpool/cluster"
)

// TestTransactionsAtRandom runs random transactions over two standbys with a choice for each statement, and holds them against what
// must hold for all: what a standby cannot do is on the primary, reads of one REPEATABLE READ or read-only transaction are on one
// node, and nothing of a read-only transaction that a standby can do is on the primary.
func TestTransactionsAtRandom(t *testing.T) {
	t.Parallel()
	const seeds = 300
	for seed := range uint64(seeds) {
		r := &randomSession{t: t, w: newWorld(t), dice: rand.New(rand.NewPCG(seed, 0)), seed: seed}
		r.w.set(fields("0=primary,weight=0 1=standby 2=standby statement_level_load_balance=on"))
		r.w.properties["temp"], r.w.properties["unlogged"] = []string{"tmp"}, []string{"u"}
		r.w.start()
		for range 5 {
			r.transaction()
		}
	}
}

type randomSession struct {
	t    *testing.T
	w    *world
	dice *rand.Rand
	seed uint64
	done []string
}

func (r *randomSession) pick(list []string) string { return list[r.dice.IntN(len(list))] }

// run returns where a statement went.
func (r *randomSession) run(sql string) cluster.NodeID {
	r.w.in.Dice = r.dice.Float64()
	why := r.w.statement(sql)
	node := r.w.decided.Node
	r.done = append(r.done, fmt.Sprintf("%-40s %d  %s", sql, node, why))
	return node
}

func (r *randomSession) fail(what string) {
	r.t.Helper()
	r.t.Fatalf("seed %d: %s:\n%s", r.seed, what, strings.Join(r.done, "\n"))
}

// transaction runs one and checks each step.
func (r *randomSession) transaction() {
	begin := r.pick([]string{
		"begin", "begin read only", "begin isolation level repeatable read", "begin isolation level repeatable read, read only",
		"begin isolation level serializable, read only",
	})
	readOnly, repeatable := strings.Contains(begin, "only"), strings.Contains(begin, "repeatable")
	serial := strings.Contains(begin, "serializable")
	r.run(begin)
	home, pinned := cluster.NoNode, false
	for range 2 + r.dice.IntN(8) {
		kind, sql := r.statement()
		node := r.run(sql)
		switch {
		case kind == "primary" && node != 0:
			r.fail("not on the primary")
		case kind == "write":
			if pinned = true; node != 0 {
				r.fail("a write elsewhere than on the primary")
			}
		case kind == "read" && (serial || pinned):
			if node != 0 {
				r.fail("a read that has to be on the primary")
			}
		case kind == "read" && (readOnly || repeatable):
			if home != cluster.NoNode && node != home {
				r.fail("reads on two nodes")
			}
			home = node
		case kind == "standby" && readOnly && !pinned && !serial && node == 0 && home != 0 && !(repeatable && home == cluster.NoNode):
			r.fail("a standby could have done it")
		}
		if repeatable && home == cluster.NoNode && kind != "standby" {
			home = node // its snapshot
		}
		if kind == "standby" && !readOnly {
			pinned = true
		}
	}
	r.run("commit")
}

// statement is one of a kind: "read" may run anywhere, "primary" must not, "write" also moves later reads, "standby" are settings and
// savepoints, which no snapshot is needed for.
func (r *randomSession) statement() (kind, sql string) {
	all := map[string][]string{
		"read":    {"select 1", "select * from t", "table t", "copy t to stdout"},
		"primary": {"select * from tmp", "select * from u"},
		"write":   {"insert into tmp values (1)", "lock t", "create temp table x (a int)", "select random()", "do $$ begin end $$"},
		"standby": {"set local work_mem = '1MB'", "savepoint a", "set x.y = 'z'"},
	}
	kind = r.pick([]string{"read", "read", "read", "read", "primary", "standby", "write"})
	return kind, r.pick(all[kind])
}
