package failover

import (
	"testing"
	"time"

	"gopgpool/cluster"
)

// TestPromotedBesideThePrimary: a server that was promoted by hand while the primary served lacks what was acknowledged since. It does not
// take over where a standby of the primary can.
func TestPromotedBesideThePrimary(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.begin()
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.settled()
		w.set(func() { w.servers[1].role = cluster.RolePrimary })
		a.set(func() { a.states[1].Timeline = 2 })
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.settled()
		w.wantView("0:primary 1, 1:standby 1, 2:standby 1")
		time.Sleep(time.Hour)
		w.kill(0)
		w.Report(w.Seek(t.Context(), w.store.Current())) // nothing listens there
		w.lose(0)
		w.settled()
		w.wantView("0:down 2/2, 1:standby 1, 2:primary 2")
		a.want(t, "stop 0 mode 1; promote 2")
	}, 200, 100, 200)
}

// Where nobody else is left, or the others follow it already, who was promoted by hand is taken.
func TestPromotedBesideAndAlone(t *testing.T) {
	for _, received := range [][]cluster.LSN{{200, 100}, {200, 100, 200}} {
		inTheatre(t, func(t *testing.T, w *world, a *troupe) {
			w.begin()
			w.Report(w.Seek(t.Context(), w.store.Current()))
			w.settled()
			w.set(func() { w.servers[1].role = cluster.RolePrimary })
			a.set(func() {
				for i := range a.states[1:] {
					a.states[i+1].Timeline = 2
				}
			})
			w.Report(w.Seek(t.Context(), w.store.Current()))
			w.settled()
			w.lose(0)
			if v := w.settled(); v.Primary != 1 {
				t.Errorf("primary %d", v.Primary)
			}
			a.want(t, "")
		}, received...)
	}
}
