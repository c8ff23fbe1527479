package machine

import (
	"testing"
	"time"
)

// FuzzReceived gives a standby whatever a peer might send: it never panics, and comes to rest.
func FuzzReceived(f *testing.F) {
	seen := map[string]bool{}
	record := newWorld(&testing.T{}, 3, nil)
	record.divert = func(_ int, msg Message) bool {
		if text := string(msg.Payload); len(seen) < 200 && !seen[text] {
			seen[text] = true
			f.Add(msg.Payload)
		}
		return false
	}
	record.start(0, 1, 2)
	record.run(4 * time.Second)
	f.Add([]byte(`{"Found":{"Kind":3,"Epoch":9,"Ballot":{"Round":1,"Node":2}}}`))
	f.Add([]byte(`{"Ask":{"Number":1,"Ask":{"Key":"k"}}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		w := newWorld(t, 3, nil)
		w.start(0, 1, 2)
		w.run(3500 * time.Millisecond)
		w.nodes[1].Step(w.now, Received{From: 2, Payload: payload})
		w.run(200 * time.Millisecond)
	})
}
