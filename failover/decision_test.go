package failover

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
)

// decided1 is a decision with everything in it.
func decided1() *decision {
	v := viewOf(cluster.NoNode, "down 2/2", "up 3", "waiting 1")
	v.Op, v.Seeking, v.Following = cluster.OpFailover, true, true
	v.Nodes[1].Stray = true
	m := &Memory{
		Was: []cluster.Role{cluster.RolePrimary, cluster.RoleStandby}, Promoted: []bool{false, true}, Vacant: true, Run: 3,
		Open: Episode{
			Op: cluster.OpFailover, Failed: []cluster.NodeID{0}, OldPrimary: 0, OldMain: 0, Lost: true, Elect: cluster.NoNode, Heir: 1,
			Search: UntilFound,
		},
	}
	cmd := Command{Kind: FailoverCommand, Node: 0, OldPrimary: 0, OldMain: 0, NewMain: 1, Avoid: []cluster.NodeID{2}}
	follow := &Follow{Run: 3, Nodes: []cluster.NodeID{0, 2}, OldPrimary: 0, NewPrimary: 1}
	return decisionOf(v, m, []sharedCommand{{Command: cmd, Begun: true}}, follow, 12)
}

func TestDecisionRoundTrip(t *testing.T) {
	d := decided1()
	got, err := parseDecision(d.encode())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, d) {
		t.Errorf("got  %+v\nwant %+v", got, d)
	}
	own := viewOf(0, "up 1", "up 1", "up 1")
	own.Nodes[1].Weight, own.Nodes[1].AlwaysPrimary = 0.25, true
	v := got.view(own)
	if want := "0:down 2/2, 1:standby 3, 2:standby 1, failover, seeking, following"; describe(v) != want {
		t.Errorf("view %q, want %q", describe(v), want)
	}
	if n := v.Nodes[1]; n.Weight != 0.25 || !n.AlwaysPrimary || !n.Stray {
		t.Errorf("node %+v: its configuration is this node's own", n)
	}
	if own.Nodes[0].Status != cluster.StatusUp {
		t.Error("the own View was changed")
	}
	if m := got.remember(); !reflect.DeepEqual(m.Open, d.Memory.Open) || !m.Vacant || m.Run != 3 {
		t.Errorf("memory %+v", m)
	}
}

// The largest decision there can be is far below what is read.
func TestDecisionSize(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(cluster.MaxNodes), nil, time.Now())
	m := &Memory{Was: make([]cluster.Role, cluster.MaxNodes), Promoted: make([]bool, cluster.MaxNodes)}
	for i := range v.Nodes {
		v.Nodes[i].Host = strings.Repeat("h", 255)
	}
	if n := len(decisionOf(v, m, nil, nil, 1).encode()); n > maxDecision/10 {
		t.Errorf("%d bytes", n)
	}
}

func TestDecisionNonsense(t *testing.T) {
	spoil := map[string]func(*decision){
		"version":    func(d *decision) { d.Version = 2 },
		"primary":    func(d *decision) { d.Primary = cluster.MaxNodes },
		"operation":  func(d *decision) { d.Op = 9 },
		"other op":   func(d *decision) { d.Op = cluster.OpNone },
		"status":     func(d *decision) { d.Nodes[0].Status = 77 },
		"quarantine": func(d *decision) { d.Nodes[0].Status = cluster.StatusQuarantine },
		"fence":      func(d *decision) { d.Nodes[1].Fenced = 4 },
		"epoch":      func(d *decision) { d.Nodes[1].Epoch = staleEpoch },
		"command":    func(d *decision) { d.Commands[0].Kind = 0 },
		"node":       func(d *decision) { d.Commands[0].Node = -1 },
		"avoid":      func(d *decision) { d.Commands[0].Avoid = []cluster.NodeID{999} },
		"follow":     func(d *decision) { d.Follow.Nodes = []cluster.NodeID{-1} },
		"failed":     func(d *decision) { d.Memory.Open.Failed = []cluster.NodeID{200} },
		"search":     func(d *decision) { d.Memory.Open.Search = 9 },
		"role":       func(d *decision) { d.Memory.Was[0] = 99 },
		"run":        func(d *decision) { d.Memory.Run = -1 },
		"nodes":      func(d *decision) { d.Nodes = make([]decidedNode, cluster.MaxNodes+1) },
	}
	for name, f := range spoil {
		d := decided1()
		f(d)
		if _, err := parseDecision(d.encode()); err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
	if _, err := parseDecision(bytes.Repeat([]byte(" "), maxDecision+1)); !errors.Is(err, errTooLong) {
		t.Errorf("too long: %v", err)
	}
}

// Backends are matched by their number. One that is not configured here is left alone; one that the leader does not know is not used.
func TestDecisionOfOtherBackends(t *testing.T) {
	d := decisionOf(viewOf(2, "up 1", "up 1", "up 1"), &Memory{}, nil, nil, 1)
	own := viewOf(0, "up 1", "up 1")
	own.Nodes[1].Host = "other"
	if got := d.view(own); got.Primary != cluster.NoNode || len(got.Nodes) != 2 {
		t.Errorf("%s, primary %d", describe(got), got.Primary)
	}
	if got := d.strangers(own); !reflect.DeepEqual(got, []cluster.NodeID{1, 2}) {
		t.Errorf("strangers %v", got)
	}
	d = decisionOf(viewOf(0, "up 1"), &Memory{}, nil, nil, 1)
	if got := describe(d.view(own)); got != "0:primary 1, 1:down 1" {
		t.Errorf("%s", got)
	}
}

func FuzzDecision(f *testing.F) {
	f.Add(decided1().encode())
	f.Add([]byte(`{"version":1,"primary":-1,"nodes":[],"memory":{"open":{}}}`))
	own := viewOf(0, "up 1", "up 1", "up 1")
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDecision(data)
		if err != nil {
			return
		}
		v := d.view(own)
		next := adopt(own, own, own, v, map[cluster.NodeID]time.Time{1: start})
		if fault := misadopted(own, next, own, v); fault != "" && !strings.Contains(fault, "came back") {
			t.Errorf("%s: %s", fault, data)
		}
		m := d.remember()
		for _, r := range []Request{Sought{Roles: RolesSeen{Seen: v, Roles: make([]cluster.Role, 3)}, Over: true}, NodeUsed{Node: 1}, FollowEnded{Run: m.Run}} {
			m = Decide(v, m, r, Policy{}, start).Memory
		}
		for i := range d.Commands {
			_ = d.Commands[i].Expand("%d %h %m %H %P %N %S %R %r %D %M %p", v)
		}
		again, err := parseDecision(decisionOf(v, &m, d.Commands, d.Follow, d.Number).encode())
		if err != nil && v.Op == m.Open.Op {
			t.Errorf("what was read cannot be read again: %v\n%s", err, data)
		}
		_ = again
	})
}
