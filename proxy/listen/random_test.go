package listen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/pgwire"
)

// storm is a random course of sessions on several loops, with the faults of two servers, in virtual time. What is asked for between
// two rests happens at the same time.
type storm struct {
	*world
	t     *testing.T
	dice  *rand.Rand
	nodes []*fakeNode
	who   []*patron
	lines []string           // all notifications, as they are heard
	dues  []map[*patron]bool // who has to hear each, and who may
	fault bool               // since the last rest
	main  int                // the primary
	epoch cluster.Epoch
	log   []string
}

// patron is a session with what the test knows of it.
type patron struct {
	*tester
	has    map[string]bool // in force at the last rest
	asks   <-chan error    // what is under way
	about  []string        // ... and which channels; nil with asks: all
	adding bool
	read   int // of heard
	next   int // index in lines of what can come next
}

// touched reports whether something about the channel was under way since the last rest.
func (p *patron) touched(channel string) bool {
	return p.asks != nil && (p.about == nil || slices.Contains(p.about, channel))
}

func (s *storm) say(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

func (s *storm) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(s.log[max(0, len(s.log)-40):], "\n"))
}

func (s *storm) channels() []string {
	var out []string
	for range 1 + s.dice.IntN(3) {
		out = append(out, fmt.Sprint("c", s.dice.IntN(5)))
	}
	return out
}

// act has a session that is free ask for something.
func (s *storm) act() {
	p := s.who[s.dice.IntN(len(s.who))]
	if p.asks != nil {
		return
	}
	switch s.dice.IntN(7) {
	case 0, 1, 2, 3:
		p.about, p.adding = s.channels(), true
		s.say("%s listens to %q", p.name, p.about)
		p.asks = p.listen(p.about...)
	case 4, 5:
		p.about, p.adding = s.channels(), false
		s.say("%s leaves %q", p.name, p.about)
		p.asks = p.unlisten(p.about...)
	case 6:
		p.about, p.adding = nil, false
		s.say("%s leaves all", p.name)
		p.asks = p.leave()
	}
}

// harm does something to the servers.
func (s *storm) harm() {
	s.fault = true
	n := s.nodes[s.main]
	switch s.dice.IntN(7) {
	case 0, 1:
		s.say("cut")
		n.cut()
	case 2:
		s.say("down")
		n.set(func() { n.down = true })
		n.cut()
	case 3:
		s.say("silent")
		n.set(func() { n.held = true })
	case 4:
		s.say("recovery")
		n.set(func() { n.refuse = &pgwire.Fields{Severity: "ERROR", Code: "25006", Message: "recovery"} })
	case 5:
		s.say("the primary is sought")
		v := view(2, s.main)
		v.Seeking = true
		s.store.Publish(v)
	case 6:
		s.main, s.epoch = 1-s.main, s.epoch+1
		s.say("node %d is promoted", s.main)
		s.publish()
	}
}

func (s *storm) publish() {
	v := view(2, s.main)
	for i := range v.Nodes {
		v.Nodes[i].Epoch = s.epoch
	}
	s.store.Publish(v)
}

// heal ends all faults and gives the hub the time it needs.
func (s *storm) heal() {
	s.say("healed")
	for _, n := range s.nodes {
		n.set(func() { n.down, n.held, n.refuse = false, false, nil })
	}
	s.publish()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	s.settle()
	for _, p := range s.who {
		if p.asks != nil {
			s.fail("%s waits for %q though all is well", p.name, p.about)
		}
	}
	s.fault = false
	s.agree()
}

// settle notes what has been answered.
func (s *storm) settle() {
	for _, p := range s.who {
		if p.asks == nil {
			continue
		}
		select {
		case err := <-p.asks:
			s.settled(p, err)
			p.asks = nil
		default:
			if !p.adding {
				s.fail("%s cannot leave %q", p.name, p.about)
			}
		}
	}
}

func (s *storm) settled(p *patron, err error) {
	switch {
	case err != nil && (!p.adding || !s.fault):
		s.fail("%s asked for %q: %v", p.name, p.about, err)
	case err != nil:
		s.say("%s is refused: %v", p.name, err)
	case p.about == nil:
		clear(p.has)
	}
	for _, ch := range p.about {
		if p.adding && err == nil {
			p.has[ch] = true
		} else if !p.adding {
			delete(p.has, ch)
		}
	}
}

// agree checks that the primary knows the channels that are wanted, on one connection, and the hub counts them.
func (s *storm) agree() {
	want := map[string]bool{}
	sessions := 0
	for _, p := range s.who {
		for ch := range p.has {
			want[ch] = true
		}
		sessions += min(1, len(p.has))
	}
	conns, got := s.nodes[s.main].listening()
	others, _ := s.nodes[1-s.main].listening()
	if len(got) != len(want) || slices.ContainsFunc(got, func(ch string) bool { return !want[ch] }) || others > 0 || conns > 1 {
		s.fail("the server listens to %q on %d connections (the other on %d), wanted %v", got, conns, others, want)
	}
	if st := s.hub.Status(); len(want) > 0 && (len(st) != 1 || st[0].Sessions != sessions || st[0].Channels != len(want)) {
		s.fail("status %+v of %d sessions, %v", st, sessions, want)
	}
}

// notify is a transaction that notifies.
func (s *storm) notify() (channel, line string) {
	channel, payload := fmt.Sprint("c", s.dice.IntN(5)), fmt.Sprint(len(s.lines))
	s.say("notify %s %s", channel, payload)
	for _, n := range s.nodes {
		n.notify(9, channel, payload)
	}
	return channel, fmt.Sprintf("9 %s %s", channel, payload)
}

// due are the sessions that have to hear what is said now on a channel (true), and those that may.
func (s *storm) due(channel string) map[*patron]bool {
	due := map[*patron]bool{}
	for _, p := range s.who {
		switch {
		case p.has[channel] && !p.touched(channel) && !s.fault:
			due[p] = true
		case p.has[channel] || p.touched(channel):
			due[p] = false
		}
	}
	return due
}

// heardRight checks what has come since the last rest; lines from first on were said since then. What was said before can come late
// to a session that waits for a server.
func (s *storm) heardRight(first int) {
	for _, p := range s.who {
		got := p.heard()[p.read:]
		p.read += len(got)
		for _, line := range got {
			i := slices.Index(s.lines, line)
			if i < p.next {
				s.fail("%s heard %q out of order or twice: %q", p.name, line, got)
			}
			if _, may := s.dues[i][p]; !may {
				s.fail("%s heard %q", p.name, line)
			}
			p.next = i + 1
		}
		for i := first; i < len(s.lines); i++ {
			if s.dues[i][p] && !slices.Contains(got, s.lines[i]) {
				s.fail("%s did not hear %q, only %q", p.name, s.lines[i], got)
			}
		}
	}
}

// round is what happens between two rests.
func (s *storm) round() {
	first := len(s.lines)
	var on []string
	if s.dice.IntN(12) == 0 {
		s.harm()
	}
	for range s.dice.IntN(8) {
		if s.dice.IntN(2) == 0 {
			s.act()
			continue
		}
		channel, line := s.notify()
		s.lines, on = append(s.lines, line), append(on, channel)
	}
	for _, channel := range on {
		s.dues = append(s.dues, s.due(channel))
	}
	synctest.Wait()
	if s.dice.IntN(6) == 0 {
		d := time.Duration(s.dice.IntN(8000)) * time.Millisecond
		s.say("%v pass", d)
		time.Sleep(d)
		synctest.Wait()
	}
	s.heardRight(first)
	s.settle()
	s.say("rest")
	if s.fault && s.dice.IntN(4) == 0 {
		s.heal()
	} else if !s.fault {
		s.agree()
	}
}

// Sessions come and go while servers fail: who has been told that LISTEN is in force hears everything from then on, in order and
// once, but for what is said in a gap; who has left hears nothing; the server is told of each channel once.
func TestStorm(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 20
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			w, nodes, stop := fakeNodes(t, Config{Grace: 4 * time.Second}, 3, 2)
			defer stop()
			s := &storm{world: w, t: t, dice: rand.New(rand.NewPCG(uint64(seed), 3)), nodes: nodes, epoch: 1, log: []string{fmt.Sprint("seed ", seed)}}
			defer s.heal()
			for i := range 6 {
				s.who = append(s.who, &patron{tester: w.session(i, DefaultLimit), has: map[string]bool{}})
			}
			for range 150 {
				s.round()
			}
			s.heal()
			for _, p := range s.who {
				must(t, p.end())
				clear(p.has)
			}
			time.Sleep(10 * time.Second)
			if st := w.hub.Status(); len(st) > 0 {
				s.fail("left: %+v", st)
			}
		})
		if t.Failed() {
			return
		}
	}
}
