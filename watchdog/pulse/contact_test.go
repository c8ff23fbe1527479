package pulse

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// side is one node of a pair in the tests of the pure part.
type side struct {
	name    string
	contact contact
	counted map[string]bool
}

func newSide(name string, start byte) *side {
	return &side{name: name, contact: contact{self: runID{start, name[0]}}, counted: map[string]bool{}}
}

func (s *side) beat() (packets []packet) {
	ours, echoes := s.contact.next()
	for _, echo := range echoes {
		packets = append(packets, packet{Mark: ours, Echo: echo})
	}
	return packets
}

// exchange delivers packets and the answers they cause, until all is quiet; it returns the verdicts of to.
func exchange(from, to *side, packets []packet) (got []verdict) {
	for _, p := range packets {
		v := to.contact.hear(&p)
		got = append(got, v)
		if v == strange || v == met {
			exchange(to, from, to.beat())
		}
	}
	return got
}

func TestFirstContactTakesAPacketEachWay(t *testing.T) {
	a, b := newSide("a", 1), newSide("b", 1)
	if got := exchange(a, b, a.beat()); got[0] != strange {
		t.Errorf("first packet: %v", got)
	}
	for _, s := range []*side{a, b} {
		if !s.contact.known {
			t.Errorf("%s does not know the other one after one packet and its answers", s.name)
		}
	}
	if got := exchange(a, b, a.beat()); got[0] != alive {
		t.Errorf("second packet: %v", got)
	}
}

func TestVerdicts(t *testing.T) {
	us, now, former := runID{1}, runID{2}, runID{3}
	for _, tc := range []struct {
		name string
		p    packet
		want verdict
	}{
		{"next", packet{Mark: mark{now, 11}, Echo: mark{us, 7}}, alive},
		{"same again", packet{Mark: mark{now, 10}, Echo: mark{us, 7}}, stale},
		{"same beat, other path", packet{Path: 1, Mark: mark{now, 10}, Echo: mark{us, 7}}, alive},
		{"older, other path", packet{Path: 1, Mark: mark{now, 9}, Echo: mark{us, 7}}, stale},
		{"before it knew us", packet{Mark: mark{now, 12}}, stale},
		{"restarted, has not heard us", packet{Mark: mark{former, 1}}, strange},
		{"restarted, knows our former start", packet{Mark: mark{former, 1}, Echo: mark{runID{9}, 8}}, strange},
		{"recorded before its restart", packet{Mark: mark{former, 99}, Echo: mark{us, 7}}, stale},
		{"echoes what we have not sent", packet{Mark: mark{former, 1}, Echo: mark{us, 9}}, stale},
		{"restarted, heard our last", packet{Mark: mark{former, 1}, Echo: mark{us, 8}}, met},
	} {
		c := contact{self: us, sent: 8, known: true, run: now, newest: 10, onPath: map[uint8]uint64{0: 10}, echoed: 7}
		if got := c.hear(&tc.p); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestRecordingsNeverCount lets two nodes restart while an attacker, who has everything that was ever sent, repeats, delays and
// drops. Nothing counts twice, nothing counts that was made before the receiver's start or by a former start of
// the sender after the present one was heard; and when the attacker rests both know each other at the next beats.
func TestRecordingsNeverCount(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		sides := []*side{newSide("a", 1), newSide("b", 1)}
		recorded := make([][]packet, 2) // to each side
		starts := 1
		deliver := func(to int, p packet) verdict {
			s := sides[to]
			v := s.contact.hear(&p)
			if v != alive && v != met {
				return v
			}
			id := fmt.Sprint(p.Mark, p.Path)
			switch {
			case s.counted[id]:
				t.Fatalf("seed %d: counted twice", seed)
			case p.Echo.Run != s.contact.self:
				t.Fatalf("seed %d: made before our start", seed)
			}
			s.counted[id] = true
			return v
		}
		for range 400 {
			from := r.IntN(2)
			switch r.IntN(10) {
			case 0:
				starts++
				sides[from] = newSide(sides[from].name, byte(starts))
			case 1, 2, 3, 4:
				for _, p := range sides[from].beat() {
					recorded[1-from] = append(recorded[1-from], p)
					if r.IntN(3) > 0 {
						deliver(1-from, p)
					}
				}
			default:
				if old := recorded[from]; len(old) > 0 {
					deliver(from, old[r.IntN(len(old))])
				}
			}
		}
		for range 3 {
			exchange(sides[0], sides[1], sides[0].beat())
			exchange(sides[1], sides[0], sides[1].beat())
		}
		for i, s := range sides {
			if !s.contact.known || s.contact.run != sides[1-i].contact.self {
				t.Fatalf("seed %d: %s has lost the other one: %+v", seed, s.name, s.contact)
			}
			for _, p := range recorded[i] {
				if v := s.contact.hear(&p); v == alive || v == met {
					t.Fatalf("seed %d: a recording counts", seed)
				}
			}
		}
	}
}

// A beat and an answer are made on two goroutines: the older one may be the last to be posted.
func TestOlderBeatIsNotSentAfterANewerOne(t *testing.T) {
	s := newSender(nil, Path{Host: "127.0.0.1", Port: 1}, 0)
	s.moved(netip.MustParseAddr("127.0.0.1"))
	s.post([]packet{{Mark: mark{Seq: 2}}})
	s.post([]packet{{Mark: mark{Seq: 1}}})
	if got, _ := s.take(); len(got) != 1 || got[0].Mark.Seq != 2 {
		t.Errorf("to be sent: %+v", got)
	}
	s.post([]packet{{Mark: mark{Seq: 1}}})
	if got, _ := s.take(); len(got) != 0 {
		t.Errorf("to be sent behind it: %+v", got)
	}
}

func TestCandidatesAreBounded(t *testing.T) {
	c := contact{self: runID{1}}
	for i := range byte(20) {
		c.hear(&packet{Mark: mark{runID{2, i}, 5}})
	}
	c.hear(&packet{Mark: mark{runID{2, 18}, 3}})
	_, echoes := c.next()
	want := []mark{{runID{2, 18}, 5}, {runID{2, 19}, 5}, {runID{2, 17}, 5}, {runID{2, 16}, 5}}
	if !slices.Equal(echoes, want) {
		t.Errorf("echoes %v", echoes)
	}
}
