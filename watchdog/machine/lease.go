package machine

import (
	"encoding/binary"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// The lease. A leader may hold the address as long as a quorum has just told it that it leads. The clock starts when the question
// is sent (a read index of Raft), never when the answer comes, so that a process that was frozen in between gains nothing. The
// lease is nine tenths of wd_lease_time: the tenth is for clocks that do not run alike.
//
// The other half is the successor's: each node remembers when it last gave such an answer, to whomever, and tells the age with its
// vote. A quorum voted and a quorum answered, so one of the voters knows the last answer the predecessor can have; wd_lease_time
// later its address is gone.

// lease is a leader's.
type lease struct {
	length    time.Duration
	term      uint64
	number    uint64
	asked     map[uint64]time.Duration
	end       time.Duration // 0: none
	confirmed int           // when, in ticks, the last answer came
}

// ask notes a question that is about to be sent and returns what identifies it.
func (l *lease) ask(term uint64, now time.Duration) []byte {
	if term != l.term || l.asked == nil {
		*l = lease{length: l.length, term: term, number: l.number, asked: make(map[uint64]time.Duration)}
	}
	for n, at := range l.asked {
		if now-at > l.length {
			delete(l.asked, n)
		}
	}
	l.number++
	l.asked[l.number] = now
	return binary.BigEndian.AppendUint64(nil, l.number)
}

// answered counts what a quorum has answered in a term.
func (l *lease) answered(term uint64, context []byte, ticks int) {
	if term != l.term || len(context) != 8 {
		return
	}
	n := binary.BigEndian.Uint64(context)
	at, ok := l.asked[n]
	if !ok {
		return
	}
	delete(l.asked, n)
	l.confirmed = ticks
	l.end = max(l.end, at+l.length/10*9)
}

// valid reports whether the lease holds in a term.
func (l *lease) valid(term uint64, now time.Duration) bool { return l.term == term && now < l.end }

// quiet is what a node knows of its own answers and, as a candidate, of its voters'.
type quiet struct {
	answered time.Duration         // when this node last answered a leader
	led      time.Duration         // when it last asked, as a leader, what a quorum answered: it answered itself
	votes    map[int]time.Duration // the same of each voter of term
	term     uint64
}

// heard notes that a leader's question is about to be answered. Of a leader in office every message counts: while voters change, the
// quorum that answers it and the one that elects the next may have but such a node in common.
func (q *quiet) heard(m *raftpb.Message, office bool, now time.Duration) {
	switch m.GetType() {
	case raftpb.MsgHeartbeat, raftpb.MsgApp, raftpb.MsgSnap:
		if office || len(m.GetContext()) > 0 {
			q.answered = now
		}
	}
}

// voted notes a vote for us and how long its giver has been quiet.
func (q *quiet) voted(from int, m *raftpb.Message, age, now time.Duration) {
	if m.GetType() != raftpb.MsgVoteResp || m.GetReject() {
		return
	}
	if m.GetTerm() < q.term {
		return // late
	}
	if m.GetTerm() > q.term || q.votes == nil {
		q.term, q.votes = m.GetTerm(), make(map[int]time.Duration)
	}
	q.votes[from] = now - max(age, 0)
}

// age is what is told with a vote.
func (q *quiet) age(now time.Duration) time.Duration { return now - max(q.answered, q.led) }

// free is from when on nobody else can hold the address, given that this node was elected in term. A single voter is its own
// quorum.
func (q *quiet) free(term uint64, length time.Duration) time.Duration {
	last := q.answered
	if q.term == term {
		for _, at := range q.votes {
			last = max(last, at)
		}
	}
	return last + length
}
