package main

import (
	"fmt"
	"slices"
	"time"
)

// clockStep is the resolution of the servers' logs: two times of one millisecond have no order.
const clockStep = time.Millisecond

// freeze is a time in which all processes of a node stood still.
type freeze struct {
	Node     int
	From, To time.Time
}

// evidence is what the witness hears.
type evidence struct {
	Logs      []serverLog
	Condemned []condemnation
	Freezes   []freeze
	Dispatch  func(app string, seq int) dispatch // the client's word; the zero value if it has none
}

// dispatch is what a client noted of a statement.
type dispatch struct {
	Sent     time.Time
	Answered bool
	By       string // cluster_name of the server that answered, where it was asked for
}

// over tells whether the client was answered by that node, as far as it knows.
func (d dispatch) over(node int) bool {
	return d.Answered && (d.By == "" || d.By == fmt.Sprintf("server%d", node))
}

// testimony is what the witness says. A late statement was sent before its node was condemned and carried out afterwards, by a server that
// was frozen or by a process that had lost its postmaster: nothing outside the server can prevent it, the client was told that its fate is
// unknown, and the old primary loses it when it is rewound. It is told, not held against pgpool.
type testimony struct {
	Accepted   int // writes accepted, over all nodes
	Statements int
	Reigns     int // spans in which a node accepted writes
	Late       []string
	Overlaps   []string // two nodes accepted writes at one time
	Stale      []string // a statement began on a connection opened before its node was condemned
	Unopened   int      // statements of sessions whose beginning is not in the log
	InTransit  int      // on their way when the node was condemned
}

// transit is how long a statement that was sent may take until a server on a busy machine begins with it: closing the connection behind
// it does not call it back. It is longer where the client sent it before the node was condemned and got no answer over that connection,
// which so was not in use any more.
const transit, transitKnown = 100 * time.Millisecond, time.Second

// maxListed bounds each list of a testimony; the rest is counted in its last line.
const maxListed = 20

// testify hears the evidence.
func testify(e evidence) testimony {
	t := testimony{}
	late := map[*statement]bool{}
	for i := range e.Logs {
		for j := range e.Logs[i].Statements {
			s := &e.Logs[i].Statements[j]
			t.Statements++
			if s.Opened.IsZero() {
				t.Unopened++
				continue
			}
			for _, c := range e.Condemned {
				switch {
				case e.outlasts(*s, c):
					late[s] = true
					t.Late = append(t.Late, fmt.Sprintf("%s; node condemned %s", s, clock(c.At)))
				case !stale(*s, c):
				case e.inTransit(*s, c):
					t.InTransit++
				case e.excused(*s, c):
					late[s] = true
					t.Late = append(t.Late, fmt.Sprintf("%s; node condemned %s", s, clock(c.At)))
				default:
					t.Stale = append(t.Stale, fmt.Sprintf("%s; node condemned %s", s, clock(c.At)))
				}
			}
		}
	}
	reigns := reignsOf(e.Logs, late)
	t.Reigns = len(reigns)
	for _, r := range reigns {
		t.Accepted += r.writes
	}
	t.Overlaps = overlaps(reigns)
	t.Late, t.Overlaps, t.Stale = bounded(t.Late), bounded(t.Overlaps), bounded(t.Stale)
	return t
}

func bounded(lines []string) []string {
	if len(lines) <= maxListed {
		return lines
	}
	return append(lines[:maxListed:maxListed], fmt.Sprintf("and %d more", len(lines)-maxListed))
}

// stale tells whether a statement began after its node was condemned on a connection opened before.
func stale(s statement, c condemnation) bool {
	return s.Node == c.Node && s.Opened.Before(c.At) && s.Began.After(c.At.Add(clockStep))
}

// outlasts tells whether a write that was under way when its node was condemned was carried out after that, by a server process nobody
// listened to any more: its client was not answered. A process that has lost its postmaster ends only when it has done its work.
func (e evidence) outlasts(s statement, c condemnation) bool {
	begun := s.Node == c.Node && s.Opened.Before(c.At) && !s.Began.After(c.At.Add(clockStep))
	return begun && s.accepted() && s.Ended.After(c.At.Add(clockStep)) && !e.sentAfter(s, c)
}

// excused tells whether a stale statement lay in the socket of a server that was frozen when it was condemned: its client had sent it
// before, and it began only after the thaw.
func (e evidence) excused(s statement, c condemnation) bool {
	return !e.sentAfter(s, c) && e.frozenAt(s.Node, c.At, s.Began)
}

// inTransit tells whether a stale statement may have been sent before its node was condemned.
func (e evidence) inTransit(s statement, c condemnation) bool {
	within := transit
	if !e.Dispatch(s.App, s.Seq).Sent.IsZero() {
		within = transitKnown
	}
	return s.Began.Before(c.At.Add(within)) && !e.sentAfter(s, c)
}

// sentAfter tells whether a statement is known to have been sent after its node was condemned: the client sent it later, or was answered
// over a connection that should have been cut. A write has to be known.
func (e evidence) sentAfter(s statement, c condemnation) bool {
	d := e.Dispatch(s.App, s.Seq)
	return d.Sent.After(c.At) || d.over(s.Node) || d.Sent.IsZero() && s.Write
}

func (e evidence) frozenAt(node int, at, thawedBy time.Time) bool {
	return slices.ContainsFunc(e.Freezes, func(f freeze) bool {
		return f.Node == node && f.From.Before(at) && f.To.After(at) && !thawedBy.Before(f.To.Add(-clockStep))
	})
}

// reign is the time in which a node, between two of its promotions, accepted writes: from the arrival of the first to the end of the
// last.
type reign struct {
	node, number int
	first, last  statement
	writes       int
}

func reignsOf(logs []serverLog, except map[*statement]bool) []reign {
	var all []reign
	for i := range logs {
		byNumber := map[int]int{} // index of all
		for j := range logs[i].Statements {
			s := &logs[i].Statements[j]
			if !s.accepted() || except[s] {
				continue
			}
			at, ok := byNumber[s.Reign]
			if !ok {
				at = len(all)
				byNumber[s.Reign] = at
				all = append(all, reign{node: s.Node, number: s.Reign, first: *s, last: *s})
			}
			r := &all[at]
			r.writes++
			if s.Began.Before(r.first.Began) {
				r.first = *s
			}
			if s.Ended.After(r.last.Ended) {
				r.last = *s
			}
		}
	}
	slices.SortFunc(all, func(a, b reign) int { return a.first.Began.Compare(b.first.Began) })
	return all
}

// overlaps compares each reign with all later ones: a long one can reach over several.
func overlaps(reigns []reign) []string {
	var found []string
	for i, a := range reigns {
		for _, b := range reigns[i+1:] {
			if a.node != b.node && a.last.Ended.After(b.first.Began.Add(clockStep)) {
				found = append(found, fmt.Sprintf("node %d accepted %s; node %d accepted %s", a.node, a.last, b.node, b.first))
			}
		}
	}
	return found
}
