package lifecheck

import (
	"slices"
	"time"
)

// Verdict is what the life check says about a node. Message is the reason, as it is logged and told to the cluster.
type Verdict struct {
	Node    int
	Dead    bool
	Message string
}

const (
	deadByHeartbeat  = "No heartbeat signal from node"
	aliveByHeartbeat = "Heartbeat signal found"
)

// Judge is the heartbeat method: a node from which nothing came for longer than wd_heartbeat_deadtime is dead, until something comes. It
// begins when all nodes have been heard once (manual: lifecheck).
//
// Silence counts only while this process looked: a step of the clock much longer than those between ticks is time in which it was stopped,
// and what came then waits in the sockets. So after such a step it first hears before it judges.
//
// Times are since boot and do not go back. A Judge is used by one goroutine.
type Judge struct {
	deadtime time.Duration
	peers    []peer // ascending by node, without ourselves
	ready    bool

	last     time.Duration // when it looked, by the clock
	observed time.Duration // for how long it has looked
	patient  time.Duration // until observed is that much, it hears only
}

type peer struct {
	node  int
	heard bool
	at    time.Duration // when it was last heard, by the clock
	seen  time.Duration // the same in observed time
	dead  bool
}

// NewJudge makes a judge of nodes; self may be among them and is not judged. It is to be ticked several times a second.
func NewJudge(self int, nodes []int, deadtime, now time.Duration) *Judge {
	j := &Judge{deadtime: deadtime, last: now}
	for _, node := range slices.Sorted(slices.Values(nodes)) {
		if node != self {
			j.peers = append(j.peers, peer{node: node})
		}
	}
	j.ready = len(j.peers) == 0
	return j
}

// Heard takes note of a heartbeat of a node. Unknown nodes are none of its business.
func (j *Judge) Heard(node int, now time.Duration) {
	j.look(now)
	p := j.find(node)
	if p == nil {
		return
	}
	p.heard, p.at, p.seen = true, now, j.observed
	j.ready = j.ready || !slices.ContainsFunc(j.peers, func(p peer) bool { return !p.heard })
}

// Tick returns what has changed since the last verdicts.
func (j *Judge) Tick(now time.Duration) (verdicts []Verdict) {
	j.look(now)
	if !j.ready {
		return nil
	}
	for i := range j.peers {
		p := &j.peers[i]
		silent := j.observed-p.seen > j.deadtime
		switch {
		case silent && !p.dead && j.observed >= j.patient:
			p.dead = true
			verdicts = append(verdicts, Verdict{Node: p.node, Dead: true, Message: deadByHeartbeat})
		case !silent && p.dead:
			p.dead = false
			verdicts = append(verdicts, Verdict{Node: p.node, Message: aliveByHeartbeat})
		}
	}
	return verdicts
}

// Ready reports whether all nodes have been heard once. There are no verdicts before.
func (j *Judge) Ready() bool { return j.ready }

// LastHeard is when the node was last heard, false if never.
func (j *Judge) LastHeard(node int) (time.Duration, bool) {
	p := j.find(node)
	if p == nil || !p.heard {
		return 0, false
	}
	return p.at, true
}

// look moves the observed time on. Of a long step only what a step may take counts.
func (j *Judge) look(now time.Duration) {
	step := max(now-j.last, 0)
	j.last = max(j.last, now)
	j.observed += min(step, j.longestStep())
	if step > j.deadtime/2 {
		j.patient = j.observed + min(j.deadtime/2, 2*time.Second)
	}
}

// longestStep is more than a busy machine needs from one tick to the next.
func (j *Judge) longestStep() time.Duration { return min(j.deadtime/4, time.Second) }

func (j *Judge) find(node int) *peer {
	i, found := slices.BinarySearchFunc(j.peers, node, func(p peer, node int) int { return p.node - node })
	if !found {
		return nil
	}
	return &j.peers[i]
}
