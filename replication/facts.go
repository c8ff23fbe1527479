package replication

import (
	"strings"
	"time"

	"gopgpool/cluster"
)

// Facts are what a round has gathered. They are a value: nobody changes them.
type Facts struct {
	View *cluster.View
	// History is that of the primary's timeline; of another timeline: it could not be read.
	History History
	Nodes   []NodeFacts // index = NodeID
}

// NodeFacts are what is known of a node's server.
type NodeFacts struct {
	// State is what it says by SQL; Err set: nothing, for that reason.
	State   cluster.ServerState
	Version int // major; 0 is unknown
	Slots   []Slot
	// Silent is how long it has been a standby that does not stream.
	Silent time.Duration
	// Hosted: somebody is at its host. Control is what he says, asked for only where SQL had no answer; ControlErr why there is none.
	Hosted     bool
	Control    cluster.Control
	ControlErr error
	// Starting is how long it has been seen to run and not to accept connections yet. Unled: it would be told now to stream from somebody else
	// or in another way than it was told last, as far as we know; of one that does not stream: as somebody else than it is set to.
	Starting time.Duration
	Unled    bool
	// Spared: somebody else is rebuilding it.
	Spared bool
	// Misfit is why a standby replays no more before it is started with other settings.
	Misfit error
	// NoRewind: a rewind to the primary in force was tried and cannot be.
	NoRewind bool
	// NoStart: it was put in order and ended while it was starting, so that its files cannot be trusted.
	NoStart bool
}

// primary returns what is known of the primary, nil where nothing may be concluded from it: there is none, it does not answer, or it says
// that it is a standby.
func (f *Facts) primary() *NodeFacts {
	id := f.View.Primary
	if !f.View.Live(id) || int(id) >= len(f.Nodes) {
		return nil
	}
	p := &f.Nodes[id]
	if p.State.Err != nil || p.State.InRecovery || p.State.Timeline == 0 {
		return nil
	}
	return p
}

// upstream finds the node a standby streams from, or is set to; NoNode: nobody we know by that address. Of several that it could be, as
// servers on one host that listen on addresses of their own, it is the one we know by the very name.
func (f *Facts) upstream(id cluster.NodeID) cluster.NodeID {
	st, v, found := &f.Nodes[id].State, f.View, cluster.NoNode
	for i := range v.Nodes {
		n := &v.Nodes[i]
		switch {
		case n.ID == id || n.Port == 0 || n.Port != st.UpstreamPort || !sameHost(v.Nodes[id].Host, st.UpstreamHost, n.Host):
		case strings.EqualFold(st.UpstreamHost, n.Host):
			return n.ID
		case found == cluster.NoNode:
			found = n.ID
		}
	}
	return found
}

// sameHost reports whether up, as a server on host own knows it, is where we know host. All names of one's own host are one, but only
// seen from the same host.
func sameHost(own, up, host string) bool {
	return strings.EqualFold(up, host) && up != "" || local(own) && local(up) && local(host)
}

// local reports whether a host is named in a way that means another one elsewhere.
func local(host string) bool {
	return host == "" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || strings.EqualFold(host, "localhost") ||
		strings.HasPrefix(host, "127.") || host == "::1"
}
