package failover

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// viewOf makes a View of words: a node's state, its epoch, and behind a slash where it is fenced.
func viewOf(primary cluster.NodeID, words ...string) *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: primary}
	for i, w := range words {
		n := cluster.Node{ID: cluster.NodeID(i), Host: "h", Port: 5432 + i, LastStatusChange: start}
		var state string
		if _, err := fmt.Sscanf(w, "%s", &state); err != nil {
			panic(err)
		}
		if _, err := fmt.Sscanf(w, "%s %d/%d", &state, &n.Epoch, &n.Fenced); err != nil {
			_, _ = fmt.Sscanf(w, "%s %d", &state, &n.Epoch)
		}
		n.Status = map[string]cluster.Status{
			"up": cluster.StatusUp, "down": cluster.StatusDown, "waiting": cluster.StatusWaiting, "quarantine": cluster.StatusQuarantine,
		}[state]
		v.Nodes = append(v.Nodes, n)
	}
	assignRoles(v)
	return v
}

func TestAdopt(t *testing.T) {
	up := viewOf(0, "up 1", "up 1")
	cases := []struct {
		name                  string
		local, from, fork, to *cluster.View
		marked                []cluster.NodeID
		want                  string
	}{
		{"nothing new", viewOf(0, "up 5/4", "up 7"), up, up, up, nil, "0:primary 5/4, 1:standby 7"},
		{"condemned", viewOf(0, "up 5/4", "up 7"), up, up, viewOf(0, "up 1", "down 2/2"), nil, "0:primary 5/4, 1:down 8/8"},
		{"condemned and back between two decisions", viewOf(0, "up 5", "up 7"), up, up, viewOf(0, "up 1", "up 3/2"), nil, "0:primary 5, 1:standby 9/8"},
		{"promoted", viewOf(0, "up 5", "up 7"), up, up, viewOf(1, "down 2/2", "up 2"), nil, "0:down 6/6, 1:primary 8"},
		{"used", viewOf(0, "waiting 5", "up 7"), viewOf(0, "waiting 1", "up 1"), up, up, nil, "0:primary 5, 1:standby 7"},
		{
			"what was decided alone is taken back", viewOf(1, "down 6/6", "up 8"), viewOf(1, "down 2/2", "up 2"), up, up, nil,
			"0:primary 7/7, 1:standby 9/9",
		},
		{
			"what was decided alone was decided elsewhere, too", viewOf(1, "down 6/6", "up 8"), viewOf(1, "down 2/2", "up 2"), up,
			viewOf(1, "down 2/2", "up 2"), nil, "0:down 6/6, 1:primary 8",
		},
		{"an older decision", viewOf(0, "up 5", "up 7"), viewOf(0, "up 4", "up 4"), viewOf(0, "up 4", "up 4"), up, nil, "0:primary 6/6, 1:standby 8/8"},
		{"another primary without a rise of epochs", viewOf(0, "up 5", "up 7"), up, up, viewOf(1, "up 1", "up 1"), nil, "0:standby 6/6, 1:primary 7"},
		{"quarantine", viewOf(0, "up 5", "up 7"), up, up, up, []cluster.NodeID{1}, "0:primary 5, 1:quarantine 8/8"},
		{"quarantine goes on", viewOf(0, "up 5", "quarantine 8/8"), up, up, up, []cluster.NodeID{1}, "0:primary 5, 1:quarantine 8/8"},
		{"quarantine ends", viewOf(0, "up 5", "quarantine 8/8"), up, up, up, nil, "0:primary 5, 1:standby 9/8"},
		{"quarantine of the primary", viewOf(0, "up 5", "up 7"), up, up, up, []cluster.NodeID{0}, "0:quarantine 6/6, 1:standby 7, seeking"},
		{
			"down for good", viewOf(0, "up 5", "quarantine 8/8"), up, up, viewOf(0, "up 1", "down 2/2"),
			[]cluster.NodeID{1},
			"0:primary 5, 1:down 9/9",
		},
	}
	for _, c := range cases {
		marked := map[cluster.NodeID]time.Time{}
		for _, id := range c.marked {
			marked[id] = start
		}
		before := describe(c.local)
		if got := describe(adopt(c.local, c.from, c.fork, c.to, marked)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if describe(c.local) != before {
			t.Errorf("%s: adopt has changed the View in force", c.name)
		}
	}
}

// Without primaries the main node takes the writes: where it is in quarantine here nobody does.
func TestQuarantineOfTheMainNode(t *testing.T) {
	v := viewOf(cluster.NoNode, "up 1", "up 1")
	v.Mode = cluster.ModeRaw
	marked := map[cluster.NodeID]time.Time{0: start}
	got := adopt(v, v, v, v, marked)
	if got.Writer() != cluster.NoNode || !got.Seeking {
		t.Errorf("%s is written to", describe(got))
	}
	if back := adopt(got, v, v, v, nil); back.Writer() != 0 || back.Seeking {
		t.Errorf("back: %s", describe(back))
	}
	marked = map[cluster.NodeID]time.Time{1: start}
	if got := adopt(v, v, v, v, marked); got.Writer() != 0 {
		t.Errorf("%s: the main node is well", describe(got))
	}
}

// TestAdoptInvariants has two nodes go their own ways and meet again: whatever they have decided, the epochs here never fall, and what is
// no longer used as it was is cut off.
func TestAdoptInvariants(t *testing.T) {
	seeds := 600
	if testing.Short() {
		seeds = 200
	}
	for seed := range seeds {
		if fault := adoptRandom(uint64(seed)); fault != "" {
			t.Fatalf("seed %d: %s", seed, fault)
		}
	}
}

// wanderer is a View that goes its own way.
type wanderer struct {
	v *cluster.View
	m Memory
}

func (w *wanderer) step(g *gambler, n int, p Policy, now time.Time) {
	g.past = append(g.past, w.v)
	plan := Decide(w.v, w.m, g.request(n, w.m.Open.Op != cluster.OpNone), p, now)
	w.m = plan.Memory
	if plan.View != nil {
		w.v = plan.View
	}
}

func adoptRandom(seed uint64) string {
	g := &gambler{Rand: rand.New(rand.NewPCG(seed, 7))}
	n := 1 + g.IntN(4)
	first, _ := First(cluster.ModeStreaming, backends(n), nil, start)
	p := Policy{Failover: conf.Failover{FailoverOnBackendError: true, SearchPrimaryNodeTimeout: time.Minute}}
	shared, own, local := &wanderer{v: first}, &wanderer{v: first}, first
	fork, marked := first, map[cluster.NodeID]time.Time{}
	for step := range 40 {
		now := start.Add(time.Duration(step) * time.Second)
		from := own.v
		switch g.IntN(4) {
		case 0: // alone
			g.past = nil
			own.step(g, n, p, now)
		case 1: // without us
			g.past = nil
			shared.step(g, n, p, now)
			continue
		case 2:
			if id := cluster.NodeID(g.IntN(n)); g.IntN(2) == 0 {
				marked[id] = now
			} else {
				delete(marked, id)
			}
		case 3: // we meet
			next := adopt(local, from, fork, shared.v, marked)
			if fault := misadopted(local, next, from, shared.v); fault != "" {
				return fmt.Sprintf("step %d: %s\nhere %s\nfrom %s\nto   %s\ngot  %s", step, fault, describe(local), describe(from),
					describe(shared.v), describe(next))
			}
			local, fork = next, shared.v
			*own = *shared
			continue
		}
		next := adopt(local, from, from, own.v, marked)
		if fault := misadopted(local, next, from, own.v); fault != "" {
			return fmt.Sprintf("step %d alone: %s\nhere %s\nfrom %s\nto   %s\ngot  %s", step, fault, describe(local), describe(from),
				describe(own.v), describe(next))
		}
		local = next
	}
	return ""
}

func misadopted(local, next, from, to *cluster.View) string {
	for i := range next.Nodes {
		a, b, id := &local.Nodes[i], &next.Nodes[i], cluster.NodeID(i)
		same := from.Nodes[i].Epoch == to.Nodes[i].Epoch && from.Nodes[i].Fenced == to.Nodes[i].Fenced &&
			from.Nodes[i].LastStatusChange.Equal(to.Nodes[i].LastStatusChange)
		switch {
		case b.Epoch < a.Epoch || b.Fenced < a.Fenced || b.Fenced > b.Epoch:
			return fmt.Sprintf("the epochs of node %d run backwards", i)
		case a.Status.Live() && !b.Status.Live() && b.Fenced <= a.Epoch:
			return fmt.Sprintf("node %d went down without a fence", i)
		case !a.Status.Live() && b.Status.Live() && b.Epoch == a.Epoch:
			return fmt.Sprintf("node %d came back as it was", i)
		case same && a.Status.Live() && b.Status.Live() && b.Epoch != a.Epoch && from.Primary == to.Primary:
			return fmt.Sprintf("node %d was cut for nothing", i)
		case from.Primary == id && to.Primary != id && a.Status.Live() && b.Fenced <= a.Epoch:
			return fmt.Sprintf("node %d is no primary any more, and was not cut", i)
		case b.Status == cluster.StatusQuarantine && next.Primary == id:
			return "the primary is in quarantine"
		}
	}
	return ""
}

func TestShared(t *testing.T) {
	local, basis := viewOf(0, "up 5", "up 7"), viewOf(0, "up 1", "up 2")
	seen := viewOf(0, "up 5", "up 6")
	got := shared(seen, local, basis)
	if got.Nodes[0].Epoch != 1 || got.Nodes[1].Epoch != staleEpoch || seen.Nodes[0].Epoch != 5 {
		t.Errorf("epochs %d, %d", got.Nodes[0].Epoch, got.Nodes[1].Epoch)
	}
	if shared(nil, local, basis) != nil {
		t.Error("an order speaks of no View")
	}
}
