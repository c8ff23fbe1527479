package failover

import (
	"errors"
	"os"
	"testing"
	"time"

	"gopgpool/cluster"
)

// A primary that was lost while pgpool was not there is replaced when it has had its time to come back.
func TestPrimaryIsGoneAtTheStart(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.begin()
		w.Report(BackendsReloaded{Backends: backends(2)}) // something to write down
		w.settled()
		w.stop()
		w.kill(0)
		w.restart(nil)
		rounds := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				w.Report(w.Seek(t.Context(), w.store.Current()))
			}
			w.settled()
		}
		rounds(9 * time.Second)
		w.wantView("0:standby 1, 1:standby 1, seeking") // nothing is written to a standby meanwhile
		rounds(3 * time.Second)
		w.wantView("0:down 2/2, 1:primary 2")
		a.want(t, "stop 0 mode 1; promote 1")
	}, 200, 200)
}

// One that neither answers nor is gone is waited for as long as a primary is sought at a start.
func TestPrimaryIsSilentAtTheStart(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.begin()
		w.Report(BackendsReloaded{Backends: backends(2)})
		w.settled()
		w.stop()
		w.set(func() { w.servers[0].role = cluster.RoleStandby })
		w.restart(nil)
		for range int(w.policy.SearchPrimaryNodeTimeout/time.Second) - 1 {
			w.Report(w.Seek(t.Context(), w.store.Current()))
			time.Sleep(time.Second)
		}
		w.wantView("0:standby 1, 1:standby 1, seeking")
		time.Sleep(2 * time.Second)
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.settled()
		w.wantView("0:standby 1, 1:standby 1")
		a.want(t, "")
		w.set(func() { w.servers[0].role = cluster.RolePrimary })
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.settled()
		w.wantView("0:primary 2, 1:standby 1")
	}, 200, 200)
}

// What was seen of the primary is not forgotten by a restart: whom its commits waited for decides who may be promoted, and becomes the next
// one's setting.
func TestRestartRemembersThePrimary(t *testing.T) {
	const both = "ANY 1 (s1, s2)"
	for _, tt := range []struct {
		name, want string
		dead       bool // a standby that may be the one that was waited for
	}{
		{"one standby is away", "", true},
		{"both are there", "stop 0 mode 1; promote 1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTheatre(t, func(t *testing.T, w *world, a *troupe) {
				w.store.PublishGauges(&cluster.Gauges{Primary: cluster.PrimaryGauge{Node: 0, LSN: 200, Sync: both, Measured: time.Now()}})
				w.begin()
				w.Report(w.Seek(t.Context(), w.store.Current()))
				w.settled()
				w.stop()
				w.store.PublishGauges(&cluster.Gauges{})
				w.kill(0)
				if tt.dead {
					w.kill(2)
				}
				w.restart(nil)
				for end := time.Now().Add(12 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
					w.Report(w.Seek(t.Context(), w.store.Current()))
				}
				a.want(t, tt.want)
				if !tt.dead && a.last.Sync != both {
					t.Errorf("the heir was told of %+v", a.last)
				}
			}, 200, 200, 200)
		})
	}
}

// A restart of pgpool alone changes nothing.
func TestPrimaryIsThereAtTheStart(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.begin()
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.Report(BackendsReloaded{Backends: backends(2)})
		w.settled()
		w.stop()
		w.restart(nil)
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.settled()
		w.wantView("0:primary 1, 1:standby 1")
	}, 200, 200)
}

// A restart in the middle of a failover goes on with it, and with the heir that was told already.
func TestRestartGoesOn(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		a.promErr = errors.New("it does not answer")
		w.begin()
		w.lose(0)
		time.Sleep(3500 * time.Millisecond)
		w.stop()
		a.set(func() { a.promErr, a.acts = nil, nil; a.states[2].Received = 300 })
		data, err := os.ReadFile(w.path)
		if err != nil {
			t.Fatal(err)
		}
		w.restart(ParseStatus(data))
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2, 2:standby 1")
		a.want(t, "stop 0 mode 1; promote 1") // somebody may have started the old one meanwhile
	}, 200, 200, 100)
}

// A file that names backends which are not configured is worth nothing, whatever has become of it.
func TestRestartWithAForeignFile(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		d := decisionOf(w.store.Current(), &Memory{}, nil, nil, 0)
		d.Op = cluster.OpFailover
		d.Memory.Open = Episode{
			Op: cluster.OpFailover, Act: ActStop, Lost: true, OldPrimary: 50, OldMain: 0, Elect: cluster.NoNode, Heir: cluster.NoNode,
			Target: cluster.NoNode, Doomed: cluster.NoNode, GivenUp: cluster.NoNode,
		}
		if err := os.WriteFile(w.keepsakePath(), marshal(&keepsake{Term: 1, Decision: d.encode()}), 0o600); err != nil {
			t.Fatal(err)
		}
		w.begin()
		w.settled()
		a.want(t, "")
	}, 200, 200, 100)
}

// The agents keep the highest term they have obeyed for ever, so none is taken over that leaves no room above.
func TestRestartWithATermThatIsNone(t *testing.T) {
	for _, term := range []cluster.Term{sharedTerms - 1, 1<<64 - 2, 1<<64 - 1} {
		inTheatre(t, func(t *testing.T, w *world, _ *troupe) {
			if err := os.WriteFile(w.keepsakePath(), marshal(&keepsake{Term: term}), 0o600); err != nil {
				t.Fatal(err)
			}
			w.begin()
			if got, _ := w.Office(); got >= sharedTerms-1 {
				t.Errorf("term %d", got)
			}
		}, 200, 200, 100)
	}
}
