package machine

import (
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// envelope is a message between machines. Exactly one of its pointers or Raft is set. What it says of itself is believed as far as the
// mesh has authenticated the peer.
type envelope struct {
	Cluster uint64 `json:",omitempty"` // Raft, Join: which group this is about
	Epoch   uint64 `json:",omitempty"`

	Raft  []byte        `json:",omitempty"`
	Quiet time.Duration `json:",omitempty"` // with a vote: how long ago its sender last answered a leader; see lease.go

	Info  *info     `json:",omitempty"`
	Found *foundMsg `json:",omitempty"`
	Join  *join     `json:",omitempty"`
	Ask   *askMsg   `json:",omitempty"`
	Reply *replyMsg `json:",omitempty"`
}

// info is what a node tells everybody about itself, several times a lease.
type info struct {
	Name     string
	State    State
	Priority int
	Age      time.Duration // since its start
	Sick     bool          `json:",omitempty"`
	Leaving  bool          `json:",omitempty"`
	Bye      bool          `json:",omitempty"` // the last word
	Served   bool          `json:",omitempty"` // has been leader, standby or alone since its start

	RaftID   uint64
	Cluster  uint64        `json:",omitempty"` // 0: blank
	Epoch    uint64        `json:",omitempty"`
	Voters   []uint64      `json:",omitempty"` // as it knows them
	Outgoing []uint64      `json:",omitempty"` // while voters change: those whose majority is needed as well
	Learners []uint64      `json:",omitempty"`
	Applied  uint64        `json:",omitempty"`
	Term     uint64        `json:",omitempty"`
	Leader   int           // whom it shows as the leader, -1 nobody
	Office   bool          `json:",omitempty"` // it leads, and the log says so
	Tenure   time.Duration `json:",omitempty"` // for how long
	Quorum   Quorum
	Alive    int          `json:",omitempty"`
	Holds    bool         `json:",omitempty"` // it wants the address
	Seq      uint64       `json:",omitempty"`
	Carried  uint64       `json:",omitempty"`
	Refused  []int        `json:",omitempty"` // whose messages it drops
	Yielding uint64       `json:",omitempty"` // it leads, and would give up its group for this one
	Beaten   uint64       `json:",omitempty"` // the group that does so for this one
	Settled  []int        `json:",omitempty"` // who may leave, as far as the leader is concerned
	Members  []Membership `json:",omitempty"`
	Resend   uint64       `json:",omitempty"` // rises when votes are to be repeated
}

// join asks the leader to take in a node with an empty disk.
type join struct{ RaftID uint64 }

// askMsg brings a request before the leader, replyMsg is its answer. Numbers are the asker's.
type (
	askMsg struct {
		Number uint64
		Ask    Ask
	}
	replyMsg struct {
		Number uint64
		Answer Answer
	}
)

func (e *envelope) encode() []byte {
	data, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Sprintf("machine: message cannot be written: %v", err))
	}
	return data
}

func decodeEnvelope(data []byte) (*envelope, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("machine: message: %w", err)
	}
	return &e, nil
}

func marshalRaft(m *raftpb.Message) []byte {
	data, err := proto.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("machine: raft message cannot be written: %v", err))
	}
	return data
}

func unmarshalRaft(data []byte) (*raftpb.Message, error) {
	m := new(raftpb.Message)
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("machine: raft message: %w", err)
	}
	return m, nil
}

// A raft id is an incarnation of a node: a disk that has lost its content must not vote again under the name it had. Incarnation 0 is
// the place of a node that has not come yet.
func raftID(incarnation uint64, node int) uint64 { return incarnation<<8 | uint64(node+1) }

// nodeOf is the node a raft id belongs to, -1 for none.
func nodeOf(id uint64) int { return int(id&0xff) - 1 }
