package machine

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// isRaft reports whether a message carries one of Raft's of a type.
func isRaft(msg Message, typ raftpb.MessageType) bool {
	e, err := decodeEnvelope(msg.Payload)
	if err != nil || e.Raft == nil {
		return false
	}
	m, err := unmarshalRaft(e.Raft)
	return err == nil && m.GetType() == typ
}

// A leader that has given up the address, and said so in the log, is asked to lead on because its successor does not answer. The word to
// the successor was only late: it must not find a log that says nobody holds the address.
func TestReleaseIsTakenBackBeforeTheAddress(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	var late []Message
	w.divert = func(from int, msg Message) bool {
		if isRaft(msg, raftpb.MsgTimeoutNow) {
			late = append(late, msg)
			return true
		}
		// What it writes from now on arrives nowhere, but it is answered; and it does not hear of another's election.
		return len(late) > 0 && (from == 0 && isRaft(msg, raftpb.MsgApp) || msg.To == 0 && late[0].To == from)
	}
	w.nodes[0].Step(w.now, Resign{Why: "test"})
	w.until("the successor does not answer", 10*time.Second, func() bool { return len(late) > 0 && w.nodes[0].hand.stage == keeping })
	w.run(500 * time.Millisecond)
	for _, msg := range late {
		w.nodes[msg.To].Step(w.now, Received{From: 0, Payload: msg.Payload})
	}
	w.run(5 * time.Second) // check() looks for two holders
	w.divert = nil
	w.run(5 * time.Second)
	if w.holder() < 0 {
		t.Error("nobody holds the address")
	}
}

// Who led and held the address tells so with its vote, though it has answered nobody.
func TestFormerLeaderTellsOfItsOwnLease(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	w.run(5 * time.Second)
	m := w.nodes[0]
	issued := m.lease.end - m.c.Lease/10*9
	m.stepDown()
	if age := m.quiet.age(w.now); age < 0 || age > w.now-issued {
		t.Errorf("tells an age of %v, its last question was put %v ago", age, w.now-issued)
	}
}
