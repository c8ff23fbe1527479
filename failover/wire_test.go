package failover

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"gopgpool/cluster"
)

func TestWire(t *testing.T) {
	v := viewOf(0, "up 3", "up 4", "up 5")
	for _, r := range []Request{
		Detach{Nodes: []cluster.NodeID{2, 0}, Origin: ByBackendError, Evidence: Refused, TimedOut: true, Err: errors.New("gone"), Seen: v},
		Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator},
		Attach{Node: 1, Origin: ByAutoFailback, Seen: v},
		Attach{Node: 1, Origin: ByRecovery},
		Promote{Node: 2, Switchover: true},
		NodeUsed{Node: 1},
		settle{},
	} {
		w := wire(r)
		got, err := parseRequest(w.encode())
		if err != nil {
			t.Errorf("%+v: %v", r, err)
			continue
		}
		if !reflect.DeepEqual(*got, w) {
			t.Errorf("%+v: got %+v, want %+v", r, *got, w)
		}
		if back := got.request(v); !reflect.DeepEqual(wire(back), w) {
			t.Errorf("%+v: came as %+v", r, back)
		}
	}
}

// A finding is about the epochs it was made under, and worth nothing later.
func TestWireOutdated(t *testing.T) {
	v := viewOf(0, "up 3", "up 4")
	w := wire(Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck, Seen: v})
	later := viewOf(0, "up 3", "up 5")
	plan := Decide(later, Memory{}, w.request(later), Policy{}, start)
	if plan.View != nil || len(plan.Reasons) != 1 || plan.Reasons[0].Kind != Outdated {
		t.Errorf("plan %+v", plan)
	}
	if plan := Decide(v, Memory{}, w.request(v), Policy{}, start); plan.View == nil {
		t.Error("a finding about what is there was dropped")
	}
	other := wire(Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck, Seen: later})
	if w.key() == other.key() {
		t.Errorf("key %q for two states of a node", w.key())
	}
	a, b := Detach{Nodes: []cluster.NodeID{0, 1}, Seen: v}, Detach{Nodes: []cluster.NodeID{1, 0}, Seen: v}
	one, two := wire(a), wire(b)
	if one.key() != two.key() {
		t.Errorf("keys %q and %q for the same nodes", one.key(), two.key())
	}
}

func TestWireLongError(t *testing.T) {
	w := wire(Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck, Err: errors.New(strings.Repeat("é", 1000))})
	if len(w.Error) > maxWords || strings.ContainsRune(w.Error, '\uFFFD') {
		t.Errorf("error of %d bytes %q", len(w.Error), w.Error[len(w.Error)-4:])
	}
}

func TestExecuteNonsense(t *testing.T) {
	c := NewCoordinator(Parts{Store: cluster.NewStore(viewOf(0, "up 1")), Consensus: &member{}})
	for _, request := range []string{"", "{}", "null", `{"version":9}`, `{"version":1,"kind":"detach"}`, `{"version":1,"kind":"promote","nodes":[1,2]}`} {
		if r := parseReply(c.Execute(context.Background(), []byte(request))); r.Error == "" {
			t.Errorf("%q: %+v", request, r)
		}
	}
	w := wire(Promote{Node: 0})
	if r := parseReply(c.Execute(context.Background(), w.encode())); !r.Elsewhere {
		t.Errorf("a node that does not lead says %+v", r)
	}
}

func FuzzRequest(f *testing.F) {
	v := viewOf(0, "up 3", "up 4")
	for _, r := range []Request{
		Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck, Seen: v}, Attach{Node: 1, Origin: ByOperator}, Promote{Node: 1}, settle{},
	} {
		w := wire(r)
		f.Add(w.encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reply := parseReply(data)
		_ = reply.refusal()
		w, err := parseRequest(data)
		if err != nil {
			return
		}
		_ = w.key()
		r := w.request(v)
		if _, ok := r.(settle); ok {
			return
		}
		_ = refuse(v, r, &Policy{})
		if plan := Decide(v, Memory{}, r, Policy{}, start); plan.View != nil {
			if fault := broken(v, plan.View, &plan); fault != "" {
				t.Errorf("%s: %s", fault, data)
			}
		}
	})
}
