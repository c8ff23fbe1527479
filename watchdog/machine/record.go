package machine

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// record is what all nodes of a cluster agree on: the log, applied. It is the content of snapshots.
type record struct {
	Office   office
	Members  []Membership // index = node id; what stands behind the end is Member
	Gone     []int        // nodes that left in good order and have not come back
	Seq      uint64       // of Decision
	Decision []byte
}

// office is who was the last to lead in earnest. Being Raft's leader is not enough: only with this entry in the log does a node
// decide about backends and hold the address.
type office struct {
	Node int
	Term uint64
	// Lease is how long it may hold the address without hearing from a quorum; where it was not known that its predecessor's had run
	// out, the longer of both. The nodes should all have the same wd_lease_time, but while that is changed they have not.
	Lease time.Duration
	// Released: the address was given up in good order, and nobody else can hold it either.
	Released bool
}

// entry is what stands in the log.
type entry struct {
	Kind       entryKind
	Node       int           // whom it is about
	By         uint64        // raft id of the proposer
	Boot       uint64        // and which of its lives it was
	Number     uint64        `json:",omitempty"` // of the proposal in that life
	Term       uint64        // in which it was proposed
	Membership Membership    `json:",omitempty"`
	Lease      time.Duration `json:",omitempty"` // takeOffice
	Decision   []byte        `json:",omitempty"`
}

// maxNode is the highest pgpool_node_id.
const maxNode = 127

type entryKind uint8

const (
	takeOffice entryKind = iota + 1
	releaseAddress
	setMembership
	leftInOrder
	cameBack
	decide
)

func (e *entry) encode() []byte {
	data, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("machine: entry cannot be written: %v", err))
	}
	return data
}

func (r *record) encode() []byte {
	data, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("machine: record cannot be written: %v", err))
	}
	return data
}

func decodeRecord(data []byte) (record, error) {
	r := record{Office: office{Node: -1}}
	if len(data) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("machine: record: %w", err)
	}
	return r, nil
}

// apply carries out an entry. It is false for a decision of somebody who no longer was in office when it was written.
func (r *record) apply(e *entry) bool {
	if e.Node < 0 || e.Node > maxNode {
		return false
	}
	switch e.Kind {
	case takeOffice:
		r.Office = office{Node: e.Node, Term: e.Term, Lease: e.Lease}
	case releaseAddress:
		if r.Office.Node != e.Node || r.Office.Term != e.Term {
			return false
		}
		r.Office.Released = true
	case setMembership:
		for len(r.Members) <= e.Node {
			r.Members = append(r.Members, Member)
		}
		r.Members[e.Node] = e.Membership
	case leftInOrder:
		if !slices.Contains(r.Gone, e.Node) {
			r.Gone = append(r.Gone, e.Node)
		}
	case cameBack:
		r.Gone = slices.DeleteFunc(r.Gone, func(n int) bool { return n == e.Node })
	case decide:
		if r.Office.Node != nodeOf(e.By) || r.Office.Term != e.Term {
			return false
		}
		r.Seq++
		r.Decision = e.Decision
	default:
		return false
	}
	return true
}

func (r *record) membership(node int) Membership {
	if node < len(r.Members) {
		return r.Members[node]
	}
	return Member
}
