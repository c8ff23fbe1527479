package machine

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Founding is how nodes become a cluster that has no log yet: those with empty disks at the first start, all of them where so many
// disks were lost that no old cluster can ever have a majority again, or one half of an even cluster with half votes. It is one round of
// Paxos: whatever a quorum has accepted cannot be replaced by anything else, though proposers crash or meet in the middle. Each
// founding has an epoch of its own, above all the epochs its acceptors have known.

// charter is what is agreed on: the first content of the log.
type charter struct {
	Cluster uint64 // drawn at random
	Epoch   uint64
	Voters  []uint64 // raft ids
	Record  record   // what is known from before
}

// ballot orders proposals.
type ballot struct {
	Round uint64
	Node  int
}

func (b ballot) less(o ballot) bool {
	return b.Round < o.Round || b.Round == o.Round && b.Node < o.Node
}

// acceptor is what a node has promised about the founding of an epoch. It is on disk before an answer leaves the node.
type acceptor struct {
	Epoch    uint64
	Promised ballot
	Accepted *charter `json:",omitempty"`
	At       ballot   // of Accepted
}

// foundMsg is a message about a founding.
type foundMsg struct {
	Kind                foundKind
	Epoch               uint64
	Ballot              ballot
	At                  ballot   // promise: the ballot of Charter
	Charter             *charter `json:",omitempty"` // promise: accepted before; accept, chosen: the proposal
	RaftID              uint64   // promise: under what name its sender would take part
	Known               uint64   // promise: the epoch it knows, and how far
	LastTerm, LastIndex uint64
	Record              *record `json:",omitempty"`
}

type foundKind uint8

const (
	prepare foundKind = iota + 1
	promise
	accept
	accepted
	refused // somebody has promised more; Epoch and Ballot say what
	chosen
)

// answer is what an acceptor says to a proposer; changed tells that it must be saved first.
func (a *acceptor) answer(m *foundMsg) (reply *foundMsg, changed bool) {
	if m.Epoch > a.Epoch {
		*a, changed = acceptor{Epoch: m.Epoch}, true
	}
	if m.Epoch < a.Epoch || m.Ballot.less(a.Promised) {
		return &foundMsg{Kind: refused, Epoch: a.Epoch, Ballot: a.Promised}, changed
	}
	a.Promised = m.Ballot
	if m.Kind == prepare {
		return &foundMsg{Kind: promise, Epoch: a.Epoch, Ballot: m.Ballot, At: a.At, Charter: a.Accepted}, true
	}
	a.Accepted, a.At = m.Charter, m.Ballot
	return &foundMsg{Kind: accepted, Epoch: a.Epoch, Ballot: m.Ballot}, true
}

// proposal is a founding this node tries to bring about.
type proposal struct {
	epoch    uint64
	ballot   ballot
	quorum   int
	side     []int // who is asked
	nodes    int   // that are configured
	hopeless bool  // what was accepted before cannot live
	whole    bool  // all configured nodes are to be voters, not only those who answer
	promised map[int]*foundMsg
	charter  *charter // set in the second phase
	accepted map[int]bool
}

// take counts an answer. It returns what is to be sent to the side next, nil for nothing yet; done with the second phase.
func (p *proposal) take(from int, m *foundMsg, draw func(*proposal) *charter) (next *foundMsg, done bool) {
	if m.Epoch != p.epoch || m.Ballot != p.ballot || !slices.Contains(p.side, from) {
		return nil, false
	}
	switch {
	case m.Kind == promise && p.charter == nil:
		p.promised[from] = m
		return p.second(draw, false), false
	case m.Kind == accepted && p.charter != nil:
		p.accepted[from] = true
		return nil, len(p.accepted) >= p.quorum
	}
	return nil, false
}

// second begins the second phase: when all have promised, or a quorum has and the others are late. Who is late is no voter at first.
func (p *proposal) second(draw func(*proposal) *charter, late bool) *foundMsg {
	if len(p.promised) < p.quorum || !late && len(p.promised) < len(p.side) {
		return nil
	}
	switch earlier := p.earlier(); {
	case earlier == nil:
		p.charter = draw(p)
	case len(p.promised) == p.nodes && !p.possible(earlier):
		p.hopeless = true
		return nil
	default:
		p.charter = earlier
	}
	return &foundMsg{Kind: accept, Epoch: p.epoch, Ballot: p.ballot, Charter: p.charter}
}

// possible reports whether those who promised could elect somebody by a charter. Where everybody has, and they cannot, too many disks were
// lost since it was accepted: nobody can live by it, and it takes the next epoch to found something.
func (p *proposal) possible(c *charter) bool {
	n := 0
	for _, m := range p.promised {
		if contains(c.Voters, m.RaftID) {
			n++
		}
	}
	return n > len(c.Voters)/2
}

// earlier is the charter that may have been chosen already.
func (p *proposal) earlier() (c *charter) {
	at := ballot{}
	for _, m := range p.promised {
		if m.Charter != nil && (c == nil || at.less(m.At)) {
			c, at = m.Charter, m.At
		}
	}
	return c
}

// best is the record of those who promised that knows most.
func (p *proposal) best() record {
	r := record{Office: office{Node: -1}}
	var best *foundMsg
	for _, m := range p.promised {
		if m.Record != nil && (best == nil || best.knowsLess(m)) {
			r, best = *m.Record, m
		}
	}
	return r
}

func (m *foundMsg) knowsLess(o *foundMsg) bool {
	switch {
	case m.Known != o.Known:
		return m.Known < o.Known
	case m.LastTerm != o.LastTerm:
		return m.LastTerm < o.LastTerm
	}
	return m.LastIndex < o.LastIndex
}

// meta is what a node keeps beside the log.
type meta struct {
	RaftID  uint64 // of this disk
	Cluster uint64 // 0: blank
	Epoch   uint64
	Founder acceptor
	Charter *charter `json:",omitempty"` // of Cluster, where this node has begun it; others may have to be told
}

func (m *meta) encode() []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("machine: meta cannot be written: %v", err))
	}
	return data
}

func decodeMeta(data []byte) (m meta, err error) {
	if len(data) == 0 {
		return m, nil
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("machine: what the disk says of this node: %w", err)
	}
	return m, nil
}
