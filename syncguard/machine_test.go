package syncguard

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/cluster"
)

var update = flag.Bool("update", false, "write what the scenarios give")

// A scenario begins with a line "cluster" with the standbys and the setting. What follows from a line stands below it, indented.
func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := play(string(text)); got != string(text) {
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			t.Errorf("%s gives\n%s", file, got)
		}
	}
}

func play(text string) string {
	var out strings.Builder
	var w *world
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line + "\n")
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "cluster "):
			standbys, names, _ := strings.Cut(strings.TrimPrefix(line, "cluster "), ":")
			w = newWorld(strings.TrimSpace(names), strings.Fields(standbys)...)
		default:
			out.WriteString(w.obey(line))
		}
	}
	return out.String()
}

// TestNothingAcknowledgedIsLost lets standbys come and go at random, plans be cut short, and pgpool start anew. Whenever the rule by which
// a successor is chosen allows one, he has all that clients were told.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	settings := []string{
		"a", "FIRST 1 (a, b)", "FIRST 2 (a, b, c)", "ANY 1 (a, b)", "ANY 2 (a, b, c)", "ANY 2 (a, b)", "*", "ANY 2 (*)", "ANY 1 (p, a, b, c)",
		"ANY 3 (a, b, c)",
	}
	promoted, weak := 0, 0
	for seed := range uint64(2000) {
		dice := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(settings[dice.IntN(len(settings))], "a", "b", "c")
		w.forgetful = true
		var story []string
		for range 60 {
			story = append(story, w.randomEvent(dice))
			heir, ok := w.successor(dice)
			if must(w.names).Num < max(must(w.remembered).Num, 1) {
				weak++
			}
			if !ok {
				continue
			}
			promoted++
			if heir.flush < w.acked {
				t.Fatalf("seed %d: %s has %v, clients were told up to %v\n%s", seed, heir.name, heir.flush, w.acked, strings.Join(story, "\n"))
			}
		}
	}
	if promoted < 2000 || weak < 2000 {
		t.Errorf("only %d times a successor was found, %d times the setting was weak", promoted, weak)
	}
}

// randomEvent has something happen and says what.
func (w *world) randomEvent(dice *rand.Rand) string {
	s := w.standbys[dice.IntN(len(w.standbys))]
	switch dice.IntN(14) {
	case 0:
		return w.told("down " + s.name)
	case 1:
		s.streams, s.answers, s.frozen, s.catching = true, true, false, false
		if dice.IntN(2) == 0 {
			s.flush = w.lsn
		} else {
			s.catching = true
		}
		w.acknowledge()
		return fmt.Sprintf("%s streams, up to %v of %v", s.name, s.flush, w.lsn)
	case 2:
		return w.told([]string{"freeze ", "deaf ", "quiet "}[dice.IntN(3)] + s.name)
	case 3:
		return w.told("restart")
	case 4, 5, 6:
		return w.told("write 10")
	case 7:
		steps := dice.IntN(4)
		plan, err := w.step(steps)
		w.machine.forget() // it was interrupted, and another one goes on
		return fmt.Sprintf("look, %d steps of\n%v%v", steps, plan, err)
	case 8:
		return w.told([]string{"busy", "idle"}[dice.IntN(2)])
	case 9:
		w.stale = nil
		return "all pgpools know what is in force"
	default:
		plan, err := w.step(-1)
		return fmt.Sprintf("look\n%v%v", plan, err)
	}
}

func (w *world) told(line string) string {
	w.obey(line)
	return line
}

// successor is whom failover would choose now among some who answer: enough of the named that are not barred, of them the one with the
// most (an empty setting promises nothing, so nobody counts).
func (w *world) successor(dice *rand.Rand) (*fakeStandby, bool) {
	names := must(w.names)
	if n := dice.IntN(len(w.stale) + 1); n > 0 {
		names = must(w.stale[n-1])
	}
	var all []string
	var best *fakeStandby
	answered := 0
	for _, s := range w.standbys {
		all = append(all, s.name)
		if w.view.Nodes[s.node].Unfit || dice.IntN(3) == 0 {
			continue
		}
		if names.Has(s.name) {
			answered++
		}
		if best == nil || s.flush > best.flush {
			best = s
		}
	}
	need := names.Needed("p", all)
	return best, best != nil && need > 0 && answered >= need || best != nil && need == 0 && w.remembered != ""
}

func TestUnreadableSettings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ inForce, remembered string }{{"a b", ""}, {"a", "b c"}} {
		w := newWorld("a", "a")
		l := w.look()
		l.InForce, l.Remembered = tc.inForce, tc.remembered
		if plan, err := w.machine.step(w.view, l, w.rule); err == nil {
			t.Errorf("%v gives %v", tc, plan)
		}
	}
}

func TestAnotherPrimary(t *testing.T) {
	t.Parallel()
	w := newWorld("a", "a")
	w.obey("down a")
	w.obey("look")
	w.view.Nodes[w.view.Primary].Epoch++
	if plan, err := w.step(-1); err != nil || plan.Set {
		t.Errorf("what another primary was seen to lack counts: %v%v", plan, err)
	}
	if got := w.machine.standbys; len(got) != 1 || got[0].node != cluster.NodeID(1) || got[0].misses != 1 {
		t.Errorf("standbys %+v", got)
	}
}
