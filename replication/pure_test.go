package replication

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

func TestPlanSync(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, own, before, self string
		others                  []string
		clear                   bool
		remember                string
		warns                   bool
	}{
		{name: "asynchronous"},
		{name: "enough are there", own: "FIRST 1 (a, b)", others: []string{"b"}},
		{name: "too few are there", own: "ANY 2 (a, b)", others: []string{"b"}, clear: true, remember: "ANY 2 (a, b)"},
		{name: "everybody, nobody is there", own: "*", clear: true, remember: "*"},
		{name: "it names itself", own: "me", self: "me", clear: true, remember: "me", warns: true},
		{name: "its predecessor was synchronous", before: "me, a", self: "me", remember: "me, a"},
		{name: "with itself alone", before: "me", self: "me", warns: true},
		{name: "its own wish counts", own: "a", before: "b", others: []string{"a"}},
		{name: "nonsense is left alone", own: "FIRST (", warns: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := planSync(tc.own, tc.before, tc.self, tc.others)
			if p.clear != tc.clear || p.remember != tc.remember || (p.warning != "") != tc.warns {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestParseHistory(t *testing.T) {
	t.Parallel()
	h, err := parseHistory(3, []byte("1\t0/5000000\tno recovery target specified\n\n# note\n2\t0/6000148\tbefore 2000-01-01\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Fork{{1, 0x5000000}, {2, 0x6000148}}
	if h.Timeline != 3 || !slices.Equal(h.Forks, want) {
		t.Errorf("%+v", h)
	}
	if _, ok := h.fork(3); ok {
		t.Error("a timeline forks from itself")
	}
	for _, bad := range []string{"1\n", "x\t0/1\n", "1\tnowhere\n"} {
		if _, err := parseHistory(3, []byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestPeersAndSlotsAreRead(t *testing.T) {
	t.Parallel()
	r := reader{row: [][]byte{[]byte(`'a, b' streaming,E'c\\''d' catchup,'' `), []byte("s1 true true,s2 false true,s3 false false")}}
	peers := r.peers()
	want := []Peer{{"a, b", "streaming"}, {`c\'d`, "catchup"}, {"", ""}}
	if !slices.Equal(peers, want) {
		t.Errorf("%q", peers)
	}
	slots := r.slots()
	if !slices.Equal(slots, []Slot{{"s1", true, true}, {"s2", false, true}, {"s3", false, false}}) || r.err != nil {
		t.Errorf("%+v, %v", slots, r.err)
	}
}

// FuzzTidings: whatever a server answers, nothing panics.
func FuzzTidings(f *testing.F) {
	f.Add("t|1||1|1|streaming|1|h|5432||0/1|0/1|f|host=h|s|c||0|700|s true true|'a' streaming", "1\t0/1\tx\n")
	f.Add("f|-1|000000020000000000000001|||||||||||||||||E'\\\\", "#\n")
	f.Fuzz(func(t *testing.T, row, history string) {
		var columns [][]byte
		for _, c := range strings.Split(row, "|") {
			columns = append(columns, []byte(c))
		}
		if got, err := parseTidings(columns); err == nil && got.state.InRecovery && got.state.Received < got.state.Replayed {
			t.Errorf("%+v", got.state)
		}
		_, _ = parseHistory(2, []byte(history))
	})
}

// deaf is a host nobody reaches.
type deaf struct{ Host }

var errDeaf = errors.New("no route to host")

func (deaf) Stop(context.Context, cluster.Term, cluster.StopMode) (cluster.LSN, error) {
	return 0, errDeaf
}

func (deaf) Renew(context.Context, cluster.Term) error { return errDeaf }

// TestStopWaitsForTheLease: an agent that does not answer has stopped its server when its lease has run out since the last renewal that
// may have reached it; without agent_fencing nobody has.
func TestStopWaitsForTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &cluster.View{Mode: cluster.ModeStreaming, Nodes: []cluster.Node{{Agent: "host0:9997", Port: 5432, Status: cluster.StatusUp}}}
		var fencing atomic.Bool
		var others atomic.Int64
		fencing.Store(true)
		k := New(Parts{
			Store: cluster.NewStore(v), Log: logging.Logger{},
			Settings: func() Settings {
				return Settings{Fencing: fencing.Load(), Lease: 10 * time.Second, Others: time.Duration(others.Load())}
			},
			Office:   func() (cluster.Term, bool) { return 1, true },
			Host:     func(cluster.Node) (Host, error) { return deaf{}, nil },
			Password: func(string, string) (string, error) { return "", errDeaf }, // no server answers
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(5*time.Second + time.Second/2) // virtual: five renewals more, the last half a second ago
		began := time.Now()
		if _, err := k.Stop(t.Context(), v, 0, 1, cluster.StopNow); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 10*time.Second+fenceMargin-time.Second/2 {
			t.Errorf("it waited %v", took)
		}
		short, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		// Another office: somebody else may have renewed until now.
		if _, err := k.Stop(short, v, 0, 2, cluster.StopNow); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it did not wait: %v", err)
		}
		began = time.Now()
		if _, err := k.Stop(t.Context(), v, 0, 2, cluster.StopFast); !errors.Is(err, errDeaf) || time.Since(began) > 0 {
			t.Errorf("a planned stop waited for a lease: %v", err)
		}
		others.Store(int64(time.Minute)) // the one before may go on for so long
		began = time.Now()
		if _, err := k.Stop(t.Context(), v, 0, 2, cluster.StopNow); err != nil || time.Since(began) < time.Minute {
			t.Errorf("it waited %v: %v", time.Since(began), err)
		}
		fencing.Store(false)
		if _, err := k.Stop(t.Context(), v, 0, 2, cluster.StopNow); !errors.Is(err, errDeaf) {
			t.Errorf("nobody stopped it: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// unwilling is a host whose server does not shut down.
type unwilling struct{ Host }

func (unwilling) Stop(ctx context.Context, _ cluster.Term, mode cluster.StopMode) (cluster.LSN, error) {
	if mode == cluster.StopNow {
		return 0x60, nil
	}
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// TestAShutdownIsNotWaitedForWithoutEnd: clients wait for the successor, so a server whose archiver hangs is stopped at once in the end. Who
// does not want it stopped any more does not have it stopped so.
func TestAShutdownIsNotWaitedForWithoutEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &cluster.View{Mode: cluster.ModeStreaming, Nodes: []cluster.Node{{Port: 5432, Status: cluster.StatusUp}}}
		k := New(Parts{
			Store: cluster.NewStore(v), Log: logging.Logger{}, Settings: func() Settings { return Settings{} },
			Host: func(cluster.Node) (Host, error) { return unwilling{}, nil },
		})
		began := time.Now()
		end, err := k.Stop(t.Context(), v, 0, 1, cluster.StopFast)
		if took := time.Since(began); end != 0x60 || err != nil || took != shutBound {
			t.Errorf("%v, %v after %v", end, err, took)
		}
		short, cancel := context.WithTimeout(t.Context(), shutBound/2)
		defer cancel()
		if _, err := k.Stop(short, v, 0, 1, cluster.StopFast); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("given up: %v", err)
		}
	})
}

// TestUpstreamAmongLoopbackAddresses: servers on one host with addresses of their own and one port are told apart by their names, and a
// name that no node has means any of them.
func TestUpstreamAmongLoopbackAddresses(t *testing.T) {
	v := &cluster.View{}
	for i, host := range []string{"127.0.0.10", "127.0.0.11", "127.0.0.12"} {
		v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Host: host, Port: 5432})
	}
	f := &Facts{View: v, Nodes: make([]NodeFacts, len(v.Nodes))}
	for host, want := range map[string]cluster.NodeID{"127.0.0.10": 0, "127.0.0.11": 1, "localhost": 0, "10.0.0.1": cluster.NoNode} {
		f.Nodes[2].State.UpstreamHost, f.Nodes[2].State.UpstreamPort = host, 5432
		if got := f.upstream(2); got != want {
			t.Errorf("host=%s leads to node %d, not %d", host, got, want)
		}
	}
}
