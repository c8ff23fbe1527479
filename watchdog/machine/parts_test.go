package machine

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Manual: quorum of the watchdog cluster, the table of members and those alive.
func TestQuorum(t *testing.T) {
	for _, tt := range []struct {
		members, alive int
		off, on        Quorum
		votes, halves  int // required without and with half votes
	}{
		{1, 1, QuorumExists, QuorumExists, 1, 1},
		{2, 2, QuorumExists, QuorumExists, 2, 1},
		{2, 1, QuorumAbsent, QuorumOnEdge, 2, 1},
		{3, 2, QuorumExists, QuorumExists, 2, 2},
		{3, 1, QuorumAbsent, QuorumAbsent, 2, 2},
		{4, 3, QuorumExists, QuorumExists, 3, 2},
		{4, 2, QuorumAbsent, QuorumOnEdge, 3, 2},
		{4, 1, QuorumAbsent, QuorumAbsent, 3, 2},
		{5, 3, QuorumExists, QuorumExists, 3, 3},
		{5, 2, QuorumAbsent, QuorumAbsent, 3, 3},
	} {
		if off, on := quorumOf(tt.members, tt.alive, false), quorumOf(tt.members, tt.alive, true); off != tt.off || on != tt.on {
			t.Errorf("%d of %d: %v, with half votes %v; want %v, %v", tt.alive, tt.members, off, on, tt.off, tt.on)
		}
		if votes, halves := required(tt.members, false), required(tt.members, true); votes != tt.votes || halves != tt.halves {
			t.Errorf("%d members: %d votes, with half votes %d; want %d, %d", tt.members, votes, halves, tt.votes, tt.halves)
		}
	}
}

// The lines administrators look for name each state on the way.
func TestPath(t *testing.T) {
	for _, tt := range []struct {
		from, to State
		want     string
	}{
		{StateDead, StateLoading, "[LOADING]"},
		{StateLoading, StateStandby, "[INITIALIZING STANDBY]"},
		{StateStandby, StateLeader, "[JOINING INITIALIZING LEADER]"},
		{StateStandby, StateStanding, "[JOINING INITIALIZING STANDING FOR LEADER]"},
		{StateLeader, StateStandby, "[JOINING INITIALIZING STANDBY]"},
		{StateIsolated, StateStandby, "[JOINING INITIALIZING STANDBY]"},
		{StateStandby, StateStandby, "[]"},
	} {
		if got := fmt.Sprint(path(tt.from, tt.to)); got != tt.want {
			t.Errorf("%v to %v: %s, want %s", tt.from, tt.to, got, tt.want)
		}
	}
	for from := range nextStates {
		for to := range nextStates {
			if way := path(from, to); from != to && way[len(way)-1] != to {
				t.Errorf("%v to %v ends at %v", from, to, way)
			}
		}
	}
}

func TestLeaseCountsFromTheQuestion(t *testing.T) {
	const s = time.Second
	l := lease{length: 10 * s}
	question := l.ask(7, 100*s)
	if l.valid(7, 100*s) {
		t.Error("holds before anybody answered")
	}
	l.answered(8, question, 1) // of another term
	l.answered(7, []byte("junk"), 1)
	if l.valid(7, 100*s) {
		t.Error("holds by an answer that is none")
	}
	l.answered(7, question, 1)
	if l.end != 109*s || !l.valid(7, 109*s-1) || l.valid(7, 109*s) || l.valid(8, 101*s) {
		t.Errorf("ends at %v", l.end)
	}
	late := l.ask(7, 101*s)
	l.ask(7, 112*s) // the first question is forgotten by then
	l.answered(7, late, 1)
	if l.end != 109*s {
		t.Errorf("an answer that came too late counts: ends at %v", l.end)
	}
	old := l.ask(7, 113*s)
	l.ask(9, 114*s)
	l.answered(9, old, 1)
	if l.valid(9, 114*s) {
		t.Error("an answer of a former term counts")
	}
}

// The successor waits for the voter that was the last to answer the predecessor.
func TestFree(t *testing.T) {
	const s = time.Second
	vote := func(reject bool, term uint64) *raftpb.Message {
		typ := raftpb.MsgVoteResp
		return &raftpb.Message{Type: &typ, Reject: &reject, Term: &term}
	}
	q := quiet{answered: 90 * s}
	q.voted(1, vote(false, 5), 3*s, 100*s)
	q.voted(2, vote(true, 5), 0, 100*s) // did not vote for us
	if got := q.free(5, 10*s); got != 107*s {
		t.Errorf("free at %v, want 107s", got)
	}
	if got := q.free(6, 10*s); got != 100*s {
		t.Errorf("votes of another term count: %v", got)
	}
	q.voted(3, vote(false, 6), 8*s, 101*s)
	if got := q.free(6, 10*s); got != 103*s {
		t.Errorf("free at %v, want 103s", got)
	}
	beat, plain := raftpb.MsgHeartbeat, raftpb.MsgApp
	q.heard(&raftpb.Message{Type: &plain}, false, 105*s)
	q.heard(&raftpb.Message{Type: &beat}, false, 105*s) // asks nothing
	if q.answered != 90*s {
		t.Errorf("answered at %v", q.answered)
	}
	q.heard(&raftpb.Message{Type: &beat, Context: []byte("x")}, false, 105*s)
	if q.answered != 105*s {
		t.Errorf("answered at %v", q.answered)
	}
	q.heard(&raftpb.Message{Type: &plain}, true, 106*s)
	if q.answered != 106*s {
		t.Errorf("a leader in office: answered at %v", q.answered)
	}
}

func TestAcceptor(t *testing.T) {
	var a acceptor
	c := &charter{Cluster: 1, Epoch: 1}
	expect := func(m foundMsg, want foundKind) *foundMsg {
		t.Helper()
		got, _ := a.answer(&m)
		if got.Kind != want {
			t.Errorf("to %+v it says %+v, want kind %d", m, got, want)
		}
		return got
	}
	low, mid, high := ballot{1, 0}, ballot{1, 2}, ballot{2, 0}
	expect(foundMsg{Kind: prepare, Epoch: 1, Ballot: mid}, promise)
	expect(foundMsg{Kind: prepare, Epoch: 1, Ballot: low}, refused)
	expect(foundMsg{Kind: accept, Epoch: 1, Ballot: low, Charter: c}, refused)
	expect(foundMsg{Kind: accept, Epoch: 1, Ballot: mid, Charter: c}, accepted)
	if got := expect(foundMsg{Kind: prepare, Epoch: 1, Ballot: high}, promise); got.Charter != c || got.At != mid {
		t.Errorf("does not tell what it has accepted: %+v", got)
	}
	expect(foundMsg{Kind: prepare, Epoch: 2, Ballot: low}, promise)
	if got := expect(foundMsg{Kind: accept, Epoch: 1, Ballot: high, Charter: c}, refused); got.Epoch != 2 {
		t.Errorf("refuses with %+v", got)
	}
}

// What a quorum may have accepted is proposed again; only else something new is drawn.
func TestProposalKeepsWhatMayBeChosen(t *testing.T) {
	old, older := &charter{Cluster: 7, Voters: []uint64{1, 2}}, &charter{Cluster: 6, Voters: []uint64{1, 2}}
	draw := func(*proposal) *charter { return &charter{Cluster: 9} }
	for _, tt := range []struct {
		name     string
		promises []*foundMsg
		cluster  uint64 // 0: not yet
		hopeless bool
	}{
		{"one is no quorum", []*foundMsg{{RaftID: 1}}, 0, false},
		{"nothing accepted", []*foundMsg{{RaftID: 1}, {RaftID: 2}, {RaftID: 3}}, 9, false},
		{"one accepted", []*foundMsg{{RaftID: 1}, {RaftID: 2, Charter: old, At: ballot{1, 1}}, {RaftID: 3}}, 7, false},
		{"the later one", []*foundMsg{
			{RaftID: 1, Charter: older, At: ballot{1, 1}},
			{RaftID: 2, Charter: old, At: ballot{2, 0}},
			{RaftID: 3},
		}, 7, false},
		{"its voters have lost their disks", []*foundMsg{{RaftID: 11}, {RaftID: 12, Charter: old, At: ballot{1, 1}}, {RaftID: 3}}, 0, true},
	} {
		p := &proposal{epoch: 1, ballot: ballot{3, 0}, quorum: 2, nodes: 3, side: []int{0, 1, 2}, promised: map[int]*foundMsg{}, accepted: map[int]bool{}}
		var next *foundMsg
		for from, m := range tt.promises {
			m.Kind, m.Epoch, m.Ballot = promise, 1, ballot{3, 0}
			next, _ = p.take(from, m, draw)
		}
		got := uint64(0)
		if next != nil {
			got = next.Charter.Cluster
		}
		if got != tt.cluster || p.hopeless != tt.hopeless {
			t.Errorf("%s: proposes %d, hopeless %v; want %d, %v", tt.name, got, p.hopeless, tt.cluster, tt.hopeless)
		}
	}
}

func TestRecord(t *testing.T) {
	r := record{Office: office{Node: -1}}
	me, other := raftID(1, 0), raftID(1, 1)
	for _, tt := range []struct {
		e    entry
		done bool
	}{
		{entry{Kind: decide, Node: 0, By: me, Term: 3, Decision: []byte("early")}, false}, // not in office
		{entry{Kind: takeOffice, Node: 0, By: me, Term: 3}, true},
		{entry{Kind: decide, Node: 0, By: me, Term: 3, Decision: []byte("one")}, true},
		{entry{Kind: decide, Node: 0, By: other, Term: 3, Decision: []byte("usurped")}, false},
		{entry{Kind: decide, Node: 0, By: me, Term: 2, Decision: []byte("late")}, false},
		{entry{Kind: releaseAddress, Node: 1, Term: 3}, false},
		{entry{Kind: releaseAddress, Node: 0, Term: 3}, true},
		{entry{Kind: setMembership, Node: 2, Membership: RevokedLost}, true},
		{entry{Kind: leftInOrder, Node: 1}, true},
		{entry{Kind: leftInOrder, Node: 1}, true},
		{entry{Kind: cameBack, Node: 1}, true},
		{entry{Kind: setMembership, Node: -1}, false},
		{entry{Kind: setMembership, Node: 1 << 30}, false},
		{entry{Kind: 99}, false},
	} {
		if got := r.apply(&tt.e); got != tt.done {
			t.Errorf("%+v: %v", tt.e, got)
		}
	}
	if string(r.Decision) != "one" || r.Seq != 1 || !r.Office.Released || len(r.Gone) != 0 || r.membership(2) != RevokedLost || r.membership(9) != Member {
		t.Errorf("record is %+v", r)
	}
	again, err := decodeRecord(r.encode())
	if err != nil || !slices.Equal(again.Members, r.Members) || !reflect.DeepEqual(again.Office, r.Office) || string(again.Decision) != "one" {
		t.Errorf("read again: %+v, %v", again, err)
	}
}

// Manual: split brain, who goes on.
func TestStronger(t *testing.T) {
	base := info{Holds: true, Quorum: QuorumOnEdge, Alive: 1, Tenure: time.Minute}
	better := func(edit func(*info)) info { i := base; edit(&i); return i }
	for name, a := range map[string]info{
		"quorum":   better(func(i *info) { i.Quorum = QuorumExists }),
		"standbys": better(func(i *info) { i.Alive = 2 }),
		"tenure":   better(func(i *info) { i.Tenure = time.Hour }),
	} {
		if !stronger(&a, &base, false) || stronger(&base, &a, true) {
			t.Errorf("%s does not decide", name)
		}
	}
	without := better(func(i *info) { i.Holds, i.Quorum, i.Alive, i.Tenure = false, QuorumExists, 3, time.Hour })
	if stronger(&without, &base, true) {
		t.Error("the address does not come first")
	}
	if same := base; !stronger(&base, &same, true) || stronger(&base, &same, false) {
		t.Error("a tie is not decided by the number")
	}
}
