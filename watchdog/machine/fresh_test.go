package machine

import (
	"strings"
	"testing"
	"time"
)

// What was decided before is forgotten at a cold start alone: who takes over from the first leader goes on with what that one decided,
// though it was started without the status file in the same moment.
func TestFreshIsTheFirstLeaderAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, func(_ int, c *Config) { c.Fresh = true })
	w.divert = func(_ int, msg Message) bool { // the followers learn of the office before the leader speaks of itself
		return !w.nodes[msg.To].view.served && strings.Contains(string(msg.Payload), `"Served"`)
	}
	w.start(0, 1, 2)
	w.until("one leads", 10*time.Second, func() bool { return w.holder() >= 0 })
	first := w.holder()
	if !w.nodes[first].Status(w.now).Fresh {
		t.Error("the first leader of a cold start does not forget what was decided before")
	}
	w.run(5 * time.Second)
	w.stop(first)
	w.until("another one leads", 20*time.Second, func() bool { return w.holder() >= 0 && w.holder() != first })
	if w.nodes[w.holder()].Status(w.now).Fresh {
		t.Error("its successor forgets what it decided")
	}
}
