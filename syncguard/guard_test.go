package syncguard

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// fakeServers are a primary that notes what it is told.
type fakeServers struct{ told []string }

func (f *fakeServers) Ping(context.Context, cluster.Node) error            { return nil }
func (f *fakeServers) Open(context.Context, cluster.Node) (Session, error) { return f, nil }
func (f *fakeServers) Close()                                              {}

func (f *fakeServers) Rows(_ context.Context, sql string) ([][][]byte, error) {
	f.told = append(f.told, sql)
	return [][][]byte{{[]byte("")}}, nil
}

// TestNothingIsWeakenedUnrecorded: commits go on waiting where the next start of this pgpool would not know who must not be promoted, also
// if those were barred before.
func TestNothingIsWeakenedUnrecorded(t *testing.T) {
	t.Parallel()
	v := &cluster.View{Mode: cluster.ModeStreaming, Nodes: []cluster.Node{{ID: 0, Status: cluster.StatusUp}, {ID: 1, Status: cluster.StatusUp, Unfit: true}}}
	full := errors.New("no space left on device")
	for _, trouble := range []error{nil, full} {
		f := &fakeServers{}
		g := New(Parts{
			Store: cluster.NewStore(v), Servers: f, Log: logging.Logger{},
			Office:   func() (cluster.Term, bool) { return 0, true },
			Bar:      func(context.Context, cluster.NodeID, bool) error { return nil },
			Recorded: func(context.Context) error { return trouble },
		})
		err := g.carryOut(t.Context(), v, &Look{InForce: "b"}, Plan{Set: true}, &State{})
		if !errors.Is(err, trouble) {
			t.Errorf("%v: %v", trouble, err)
		}
		weakened := slices.ContainsFunc(f.told, func(sql string) bool { return strings.HasPrefix(sql, "ALTER SYSTEM SET synchronous_standby_names") })
		if weakened != (trouble == nil) {
			t.Errorf("%v: told %q", trouble, f.told)
		}
	}
}
