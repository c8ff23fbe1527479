package replication

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// forgetful is an agent that counts contact from its answer before, as agents do.
type forgetful struct {
	Host
	answered, contact time.Time
}

func (f *forgetful) Renew(context.Context, cluster.Term) error {
	f.contact, f.answered = f.answered, time.Now()
	return nil
}

// TestHeirIsReassured: nobody renewed the lease of the heir's agent while no pgpool led; the promotion must not be what makes it stop the
// server.
func TestHeirIsReassured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &forgetful{answered: time.Now()}
		n := cluster.Node{ID: 0, Agent: ":9997", Host: "host0", Port: 5432, Status: cluster.StatusUp}
		k := New(Parts{
			Store: cluster.NewStore(&cluster.View{Mode: cluster.ModeStreaming, Nodes: []cluster.Node{n}}), Log: logging.Logger{},
			Settings: func() Settings { return Settings{Fencing: true, Lease: 10 * time.Second} },
			Office:   func() (cluster.Term, bool) { return 1, true },
			Host:     func(cluster.Node) (Host, error) { return f, nil },
		})
		time.Sleep(time.Minute) // virtual
		k.reassure(t.Context(), n, 1)
		if since := time.Since(f.contact); since > 0 {
			t.Errorf("its agent was in contact %v ago", since)
		}
		if over := k.leases.over(0, 10*time.Second, 0); time.Until(over) != 10*time.Second+fenceMargin {
			t.Errorf("its lease is taken to run out at %v", over)
		}
	})
}

// TestContactIsToldOnce: an agent that obeys, or does not, is told of once, another reason once a minute.
func TestContactIsToldOnce(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	l := newLeases(func() time.Time { return now })
	refused, silent := errors.New("not let in"), errors.New("no answer")
	for i, step := range []struct {
		after time.Duration
		err   error
		told  bool
	}{
		{0, refused, true},
		{time.Second, refused, false},
		{time.Second, silent, false},
		{time.Minute, silent, true},
		{time.Hour, silent, false},
		{time.Second, nil, true},
		{time.Hour, nil, false},
		{time.Second, silent, true},
	} {
		now = now.Add(step.after)
		if got := l.news(0, step.err); got != step.told {
			t.Errorf("step %d: told %v", i, got)
		}
		if _, faulty := l.faults()[0]; faulty != (step.err != nil) {
			t.Errorf("step %d: a fault: %v", i, faulty)
		}
	}
	if !l.news(1, nil) {
		t.Error("the first contact is not told")
	}
}
