package machine

import (
	"math"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// What a peer says is written down before it is understood, and read again at every start. So what no peer of ours would say is not
// listened to: a bug in one node must not reach the disks of the others.

// maxCount bounds terms, epochs, rounds and indexes: they are counted up from.
const maxCount = math.MaxUint64 >> 2

// ourTypes are the messages nodes send each other.
var ourTypes = [...]raftpb.MessageType{
	raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
	raftpb.MsgSnap, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgTimeoutNow,
}

// believable reports whether one of our nodes could have sent a message of Raft to this one.
func (m *Machine) believable(msg *raftpb.Message) bool {
	if !slices.Contains(ourTypes[:], msg.GetType()) || msg.GetTerm() == 0 || msg.GetTerm() > maxCount || msg.GetIndex() > maxCount ||
		msg.GetCommit() > maxCount || msg.GetLogTerm() > msg.GetTerm() || len(msg.Responses) > 0 {
		return false
	}
	switch msg.GetType() {
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
		return len(msg.Context) == 0 || len(msg.Context) == 8
	case raftpb.MsgApp:
		return m.believableEntries(msg)
	case raftpb.MsgSnap:
		return msg.Snapshot != nil && m.believableSnapshot(msg.Snapshot)
	default:
		return true
	}
}

func (m *Machine) believableEntries(msg *raftpb.Message) bool {
	term := msg.GetLogTerm()
	for i, e := range msg.Entries {
		if e == nil || e.GetIndex() != msg.GetIndex()+uint64(i)+1 || e.GetTerm() < term || e.GetTerm() > msg.GetTerm() {
			return false
		}
		term = e.GetTerm()
		switch e.GetType() {
		case raftpb.EntryNormal:
		case raftpb.EntryConfChangeV2:
			var cc raftpb.ConfChangeV2
			if proto.Unmarshal(e.Data, &cc) != nil || !m.believableChange(&cc) {
				return false
			}
		default:
			return false // ours are all of the second version
		}
	}
	return true
}

func (m *Machine) believableChange(cc *raftpb.ConfChangeV2) bool {
	return cc.GetTransition() == raftpb.ConfChangeTransitionAuto && !slices.ContainsFunc(cc.Changes, func(c *raftpb.ConfChangeSingle) bool {
		_, known := raftpb.ConfChangeType_name[int32(c.GetType())]
		return !known || !m.isNode(c.GetNodeId())
	})
}

func (m *Machine) believableSnapshot(s *raftpb.Snapshot) bool {
	meta := s.GetMetadata()
	if meta.GetIndex() == 0 || meta.GetIndex() > maxCount || meta.GetTerm() == 0 || meta.GetTerm() > maxCount {
		return false
	}
	conf := meta.GetConfState()
	if len(conf.GetVoters()) == 0 || !m.areNodes(slices.Concat(conf.GetVoters(), conf.GetLearners())) ||
		!m.areNodes(conf.GetVotersOutgoing()) || !m.areNodes(conf.GetLearnersNext()) {
		return false
	}
	_, err := decodeRecord(s.GetData())
	return err == nil
}

// isNode reports whether a raft id belongs to one of the nodes there are, a gap in the numbering included.
func (m *Machine) isNode(id uint64) bool {
	node := nodeOf(id)
	return node >= 0 && node < len(m.c.Nodes)
}

// areNodes reports whether all ids belong to nodes, none twice.
func (m *Machine) areNodes(ids []uint64) bool {
	for i, id := range ids {
		if !m.isNode(id) || contains(ids[:i], id) {
			return false
		}
	}
	return true
}

// believableInfo judges what a node says of itself: it is kept and shown.
func (m *Machine) believableInfo(i *info) bool {
	most := 2 * len(m.c.Nodes)
	return len(i.Name) <= 1000 && len(i.Voters) <= most && len(i.Outgoing) <= most && len(i.Learners) <= most && len(i.Refused) <= most &&
		len(i.Settled) <= most && len(i.Members) <= len(m.c.Nodes)
}

// believableFound judges a message about a founding.
func (m *Machine) believableFound(from int, msg *foundMsg) bool {
	if msg.Epoch > maxCount || msg.Ballot.Round > maxCount || msg.At.Round > maxCount || msg.Known > maxCount {
		return false
	}
	if msg.Kind == promise && (nodeOf(msg.RaftID) != from || msg.Record == nil || !m.believableRecord(msg.Record)) {
		return false
	}
	c := msg.Charter
	switch {
	case c != nil:
		return c.Cluster != 0 && c.Epoch == msg.Epoch && len(c.Voters) > 0 && m.areNodes(c.Voters) && m.believableRecord(&c.Record)
	case msg.Kind == accept, msg.Kind == chosen:
		return false
	}
	return true
}

func (m *Machine) believableRecord(r *record) bool {
	return len(r.Members) <= len(m.c.Nodes) && r.Seq <= maxCount
}
