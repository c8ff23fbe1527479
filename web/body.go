package web

import (
	"encoding/json"
	"math"
	"time"

	"gopgpool/cluster"
)

// The bodies of answers. Names of fields are those of SHOW pool_nodes where it has them. There is nothing in them that a monitoring user
// may not know.

type body struct {
	Status     string       `json:"status"` // "ok" or "unavailable"
	Reason     string       `json:"reason,omitempty"`
	Mode       string       `json:"backend_clustering_mode"`
	Generation uint64       `json:"generation"`
	Primary    *int         `json:"primary"` // null: none is known
	Operation  string       `json:"operation"`
	Seeking    bool         `json:"seeking_primary"`
	Draining   bool         `json:"draining"`
	Held       int          `json:"held_sessions"`
	Stopping   bool         `json:"stopping"`
	Switchover *switchover  `json:"switchover,omitempty"`
	Watchdog   *watchdogRow `json:"watchdog,omitempty"`
	Nodes      []node       `json:"nodes"`
}

type switchover struct {
	Run    int    `json:"run"`
	To     int    `json:"to"`
	Phase  string `json:"phase"`
	Reason string `json:"reason,omitempty"`
}

type watchdogRow struct {
	State     string  `json:"state"`
	Quorum    string  `json:"quorum"`
	Leader    bool    `json:"leader"`
	VIP       *bool   `json:"vip_held,omitempty"`
	LeaseLeft float64 `json:"lease_left_seconds,omitempty"`
}

type node struct {
	ID               int      `json:"node_id"`
	Host             string   `json:"hostname"`
	Port             int      `json:"port"`
	Status           string   `json:"status"`
	Role             string   `json:"role"`
	Weight           float64  `json:"lb_weight"`
	Answers          *bool    `json:"answers,omitempty"` // the last probe was answered
	LagBytes         *uint64  `json:"lag_bytes,omitempty"`
	LagSeconds       *float64 `json:"lag_seconds,omitempty"`
	ReplicationState string   `json:"replication_state,omitempty"`
	SyncState        string   `json:"replication_sync_state,omitempty"`
	Detached         bool     `json:"detached,omitempty"` // by an administrator
	Unfit            bool     `json:"not_promotable,omitempty"`
	LastStatusChange string   `json:"last_status_change,omitempty"`
	NeedsAgent       *need    `json:"needs_agent,omitempty"`
}

// need is why somebody is needed at the server's host.
type need struct {
	Found  string `json:"found"`
	ToDo   string `json:"to_do,omitempty"`
	Reason string `json:"reason"`
	Since  string `json:"since"`
}

// nodeBody is a node's own answer.
type nodeBody struct {
	Answer string `json:"answer"`
	Reason string `json:"reason,omitempty"`
	node
}

func word(v Verdict) string {
	if v.OK {
		return "ok"
	}
	return "unavailable"
}

// appendBody words a verdict and what it is about.
func (f *Facts) body(v Verdict) []byte {
	b := body{
		Status: word(v), Reason: v.Reason, Mode: f.View.Mode.String(), Generation: uint64(f.View.Generation), Operation: f.View.Op.String(),
		Seeking: f.View.Seeking, Draining: f.View.Draining, Held: f.Waiting, Stopping: f.Stopping, Nodes: []node{},
	}
	if p := int(f.View.Primary); f.View.Primary != cluster.NoNode {
		b.Primary = &p
	}
	if s := f.View.Switchover; s != nil {
		b.Switchover = &switchover{Run: s.Run, To: int(s.To), Phase: phaseName(s.Phase), Reason: s.Why}
	}
	if w := f.Watchdog; w != nil {
		b.Watchdog = &watchdogRow{State: w.State, Quorum: w.Quorum, Leader: w.Leads, LeaseLeft: w.LeaseLeft.Seconds()}
		if w.HasVIP {
			b.Watchdog.VIP = &w.HoldsVIP
		}
	}
	for i := range f.View.Nodes {
		if id := cluster.NodeID(i); f.known(id) {
			b.Nodes = append(b.Nodes, f.node(id))
		}
	}
	return encode(b)
}

// nodes is the list of them alone.
func (f *Facts) nodes() []byte {
	list := []node{}
	for i := range f.View.Nodes {
		if id := cluster.NodeID(i); f.known(id) {
			list = append(list, f.node(id))
		}
	}
	return encode(struct {
		Nodes []node `json:"nodes"`
	}{list})
}

func (f *Facts) nodeBody(id cluster.NodeID, v Verdict) []byte {
	return encode(nodeBody{Answer: word(v), Reason: v.Reason, node: f.node(id)})
}

func (f *Facts) node(id cluster.NodeID) node {
	n, g := &f.View.Nodes[id], f.Gauges.Of(id)
	out := node{
		ID: int(id), Host: n.Host, Port: n.Port, Status: n.Status.String(), Role: n.Role.String(),
		ReplicationState: g.ReplicationState, SyncState: g.SyncState, Detached: n.Detached, Unfit: n.Unfit,
	}
	if total := f.View.TotalWeight(); total > 0 {
		out.Weight = math.Round(n.Weight/total*1e6) / 1e6
	}
	if n.Status.Live() { // nobody asks the others
		out.gauges(&g, id != f.View.Primary && f.measured(&g))
	}
	if !n.LastStatusChange.IsZero() {
		out.LastStatusChange = n.LastStatusChange.UTC().Format(time.RFC3339)
	}
	if w, ok := f.Needs[id]; ok {
		out.NeedsAgent = &need{Found: w.Found, ToDo: w.ToDo, Reason: w.Reason, Since: w.Since.UTC().Format(time.RFC3339)}
	}
	return out
}

// gauges tells what was measured, and how late the node is where that is known.
func (out *node) gauges(g *cluster.NodeGauge, late bool) {
	if g.Probed {
		out.Answers = &g.Reachable
	}
	if lag := uint64(g.Lag); late {
		out.LagBytes = &lag
	}
	if lag := g.LagTime.Seconds(); late && g.HasLagTime {
		out.LagSeconds = &lag
	}
}

func phaseName(p cluster.SwitchoverPhase) string {
	switch p {
	case cluster.SwitchoverDraining:
		return "draining"
	case cluster.SwitchoverStopping:
		return "stopping"
	case cluster.SwitchoverPromoting:
		return "promoting"
	case cluster.SwitchoverDone:
		return "done"
	case cluster.SwitchoverFailed:
		return "failed"
	}
	return "unknown"
}

// encode cannot fail: strings of any bytes and finite numbers are all there is.
func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic("web: a body cannot be encoded: " + err.Error())
	}
	return append(out, '\n')
}

// problem is the body of an answer to what is no question.
func problem(text string) []byte {
	return encode(struct {
		Error string `json:"error"`
	}{text})
}
