package failover

import (
	"os"
	"strings"
	"testing"

	"gopgpool/cluster"
)

// TestWhoMustNotBePromotedIsKept: as long as the next start would not know that a standby must not be promoted, whoever is about to have commits
// wait for nobody is told so.
func TestWhoMustNotBePromotedIsKept(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, _ *troupe) {
		w.begin()
		w.settled()
		if err := w.Kept(t.Context()); err != nil {
			t.Error(err)
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		path := w.keepsakePath()
		must(os.RemoveAll(path))
		must(os.MkdirAll(path+"/something", 0o700)) // nothing can be put in its place
		must(w.Submit(Bar{Node: 1, Unfit: true}))
		w.settled()
		for range 2 {
			if err := w.Kept(t.Context()); err == nil {
				t.Error("it was not written, and nobody is told")
			}
		}
		must(os.RemoveAll(path))
		must(w.Kept(t.Context()))
		data, err := os.ReadFile(path)
		if must(err); !strings.Contains(string(data), `"unfit":true`) {
			t.Errorf("it says %s", data)
		}
		w.stop()
		w.restart(nil)
		w.settled()
		if v := w.store.Current(); !v.Nodes[1].Unfit || v.Primary != cluster.NoNode {
			t.Errorf("after a start: %+v", v.Nodes[1])
		}
	}, 200, 200)
}
