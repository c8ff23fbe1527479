package listen

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/loop"
)

// A session that waits for several channels when the connection is lost is answered only when the next one has confirmed all of
// them, those too that the lost one had confirmed.
func TestConfirmedAgainAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, stop := fakeNodes(t, Config{}, 1, 1)
		defer stop()
		s := w.session(0, DefaultLimit)
		must(t, s.do(func(task *loop.Task) error {
			g := newRegistry()
			r := g.join(task, s, []string{"a", "b", "c"})
			for range 2 {
				if !g.answered(g.next(), nil) || r.done {
					t.Errorf("two of three: %+v", r)
				}
			}
			g.lost([]*command{g.next()})
			for i := range 3 {
				if r.done {
					t.Errorf("done after %d of 3", i)
				}
				c := g.next()
				if c == nil {
					return fmt.Errorf("only %d are said again", i)
				}
				g.answered(c, nil)
			}
			if !r.done || r.err != nil || g.next() != nil || len(g.requests) > 0 {
				t.Errorf("%+v", r)
			}
			g.part(s, nil)
			for c := g.next(); c != nil; c = g.next() {
				g.answered(c, nil)
			}
			if !g.idle() || len(g.channels) > 0 {
				t.Errorf("left: %v", g.channels)
			}
			return nil
		}))
		must(t, s.end())
		time.Sleep(time.Second)
	})
}
