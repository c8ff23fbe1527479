package lifecheck

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// deadtime of the judges here, and how often they are ticked.
const (
	deadtime = 30 * time.Second
	tick     = 200 * time.Millisecond
)

// court is a judge and its clock. It starts at an hour since boot, as no judge should rely on 0.
type court struct {
	judge *Judge
	now   time.Duration
	said  []string
}

func newCourt(nodes ...int) *court {
	c := &court{now: time.Hour}
	c.judge = NewJudge(0, append([]int{0}, nodes...), deadtime, c.now)
	return c
}

// pass ticks for a while; the nodes given send a heartbeat every two seconds.
func (c *court) pass(d time.Duration, sending ...int) {
	for end := c.now + d; c.now < end; {
		c.now += tick
		if c.now%(2*time.Second) == 0 {
			c.heard(sending...)
		}
		c.tick()
	}
}

func (c *court) heard(nodes ...int) {
	for _, n := range nodes {
		c.judge.Heard(n, c.now)
	}
}

func (c *court) tick() {
	for _, v := range c.judge.Tick(c.now) {
		c.said = append(c.said, fmt.Sprintf("%d %v: %s", v.Node, v.Dead, v.Message))
	}
}

func TestJudge(t *testing.T) {
	dead := func(n int) string { return fmt.Sprintf("%d true: No heartbeat signal from node", n) }
	alive := func(n int) string { return fmt.Sprintf("%d false: Heartbeat signal found", n) }
	for _, row := range []struct {
		name string
		act  func(c *court)
		want []string
	}{
		{"all is well", func(c *court) { c.pass(time.Minute, 1, 2) }, nil},
		{"nobody was ever heard", func(c *court) { c.pass(time.Hour) }, nil},
		{"one was never heard", func(c *court) { c.pass(10*time.Second, 1); c.pass(time.Hour) }, nil},
		{"one dies", func(c *court) { c.pass(10*time.Second, 1, 2); c.pass(deadtime+tick, 1) }, []string{dead(2)}},
		{"not before deadtime", func(c *court) { c.pass(10*time.Second, 1, 2); c.pass(deadtime, 1) }, nil},
		{"said once", func(c *court) { c.pass(10*time.Second, 1, 2); c.pass(time.Hour, 1) }, []string{dead(2)}},
		{"it returns", func(c *court) { c.pass(4*time.Second, 1, 2); c.pass(time.Minute, 1); c.pass(4*time.Second, 1, 2) }, []string{dead(2), alive(2)}},
		{"both die", func(c *court) { c.pass(4*time.Second, 1, 2); c.pass(time.Minute) }, []string{dead(1), dead(2)}},
		{"strangers are not judged", func(c *court) { c.pass(4*time.Second, 1, 2, 7, 0); c.pass(time.Minute, 1, 2) }, nil},
		{
			"the last one heard begins it",
			func(c *court) { c.pass(4*time.Second, 1); c.pass(time.Minute); c.heard(2); c.tick() },
			[]string{dead(1)},
		},
		{
			"frozen, then all is heard before the first tick",
			func(c *court) {
				c.pass(10*time.Second, 1, 2)
				c.now += time.Hour
				c.heard(1, 2)
				c.pass(time.Minute, 1, 2)
			}, nil,
		},
		{
			"frozen, then ticked before anything is heard",
			func(c *court) { c.pass(10*time.Second, 1, 2); c.now += time.Hour; c.tick(); c.pass(time.Minute, 1, 2) }, nil,
		},
		{
			"frozen in the middle of a silence that then ends",
			func(c *court) {
				c.pass(10*time.Second, 1, 2)
				c.pass(deadtime-time.Second, 1)
				c.now += time.Hour
				c.tick()
				c.heard(1, 2)
				c.pass(time.Minute, 1, 2)
			},
			nil,
		},
		{
			"frozen, and one was dead meanwhile",
			func(c *court) {
				c.pass(10*time.Second, 1, 2)
				c.now += time.Hour
				c.tick()
				c.pass(deadtime+2*time.Second, 1)
			},
			[]string{dead(2)},
		},
		{
			"stopped again and again, and looking in between",
			func(c *court) {
				c.pass(10*time.Second, 1, 2)
				for range 60 {
					c.now += 5 * time.Second
					c.heard(1)
					c.tick()
				}
			},
			[]string{dead(2)},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCourt(1, 2)
			row.act(c)
			if !slices.Equal(c.said, row.want) {
				t.Errorf("got  %q\nwant %q", c.said, row.want)
			}
		})
	}
}

func TestJudgeReady(t *testing.T) {
	c := newCourt(1, 2)
	if c.judge.Ready() {
		t.Error("ready at once")
	}
	c.heard(1, 1)
	if c.judge.Ready() {
		t.Error("ready without node 2")
	}
	if _, ok := c.judge.LastHeard(2); ok {
		t.Error("node 2 was heard")
	}
	c.heard(2)
	c.now += time.Minute
	if !c.judge.Ready() {
		t.Error("not ready")
	}
	if at, ok := c.judge.LastHeard(2); !ok || at != time.Hour {
		t.Errorf("heard at %v, %v", at, ok)
	}
	if !newCourt().judge.Ready() {
		t.Error("a node alone is not ready")
	}
}

// The model knows when this process looked, tick by tick, and adds that up for each node.
func TestJudgeAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c := newCourt(1, 2, 3)
		silence, dead := map[int]time.Duration{1: 0, 2: 0, 3: 0}, map[int]bool{}
		c.heard(1, 2, 3)
		rate := map[int]int{1: 2 + rnd.IntN(8), 2: 50 + rnd.IntN(200), 3: 300}
		sinceJump := time.Hour
		for range 2000 {
			step := 50*time.Millisecond + time.Duration(rnd.Int64N(int64(400*time.Millisecond)))
			if rnd.IntN(200) == 0 {
				step = deadtime/2 + 1 + time.Duration(rnd.Int64N(int64(time.Hour)))
				sinceJump = 0
			} else {
				sinceJump += step
			}
			c.now += step
			for n := range silence {
				silence[n] += min(step, time.Second)
				if rnd.IntN(rate[n]) == 0 {
					c.heard(n)
					silence[n] = 0
				}
			}
			var want []string
			for _, n := range []int{1, 2, 3} {
				if isDead := silence[n] > deadtime; isDead != dead[n] && (!isDead || sinceJump >= 2*time.Second) {
					dead[n] = isDead
					want = append(want, fmt.Sprintf("%d %v", n, isDead))
				}
			}
			c.said = nil
			c.tick()
			for i, s := range c.said {
				c.said[i], _, _ = strings.Cut(s, ":")
			}
			if !slices.Equal(c.said, want) {
				t.Fatalf("seed %d at %v: got %q, want %q", seed, c.now, c.said, want)
			}
		}
	}
}

func TestBeginning(t *testing.T) {
	b := newBeginning(10 * time.Second)
	var said []string
	for now := time.Duration(0); now <= 250*time.Second; now += time.Second {
		event, started := b.look(now == 250*time.Second, now)
		if event != "" {
			said = append(said, fmt.Sprintf("%v %v %s", now, started, event))
		}
	}
	want := []string{
		"1m40s false watchdog: lifecheck has not started yet", "3m20s false watchdog: lifecheck has not started yet",
		"4m10s true watchdog: lifecheck started",
	}
	if !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
}
