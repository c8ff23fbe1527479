package loop

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// group runs n loops on epoll; stop returns the error of Run.
func group(t *testing.T, n int, r Reporter) (g *Group, stop func() error) {
	t.Helper()
	g, err := NewGroup(n, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx) }()
	return g, func() error {
		cancel()
		return <-ran
	}
}

func blockOn(c <-chan struct{}) { <-c }

// A loop that is held up is reported once per time, with the name of the culprit and its stack, but not those of the tasks
// that wait.
func TestStallIsReported(t *testing.T) {
	defer noLeak(t)()
	r := newReports()
	g, stop := group(t, 2, r)
	var waiting sync.WaitGroup
	for range 100 {
		waiting.Add(1)
		g.Loops[1].GoFrom("innocent", func(t *Task) {
			waiting.Done()
			t.Wait(time.Time{})
		})
	}
	waiting.Wait()
	var holds []chan struct{} // those that block still
	for i, tt := range []struct {
		begin func(hold chan struct{})
		want  string
	}{
		{func(hold chan struct{}) { g.Loops[0].GoFrom("culprit", func(*Task) { blockOn(hold) }) }, "0 culprit "},
		// The first goes on blocking and is not reported again.
		{func(hold chan struct{}) { g.Loops[1].Post(func() { blockOn(hold) }) }, "1  "},
	} {
		hold := make(chan struct{})
		tt.begin(hold)
		got := <-r.stalls
		for !strings.Contains(got, "loop.blockOn+") {
			t.Logf("the machine is busy: %s", got)
			if strings.HasPrefix(got, tt.want[:2]) { // perhaps of the culprit before it came to block: it is not reported again
				close(hold)
				hold = make(chan struct{})
				tt.begin(hold)
			}
			got = <-r.stalls
		}
		holds = append(holds, hold)
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("report %d: %s", i, got)
		}
		if strings.Contains(got, "Task).Wait") || strings.Contains(got, "epoll") || strings.Contains(got, "testing.tRunner") {
			t.Errorf("report %d holds what is not at fault: %s", i, got)
		}
	}
	for _, hold := range holds {
		close(hold)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// An idle loop is not held up, however long: on the virtual clock for an hour.
func TestIdleIsNoStall(t *testing.T) {
	onVirtual(t, func(w *world) {
		g := &Group{Loops: []*Loop{NewVirtual(0, w.reports)}, reporter: w.reports}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- g.Run(ctx) }()
		g.Loops[0].GoFrom("sleeper", func(t *Task) { t.Sleep(time.Hour) })
		<-time.After(time.Hour)
		cancel()
		w.isErr("Run", <-ran, nil)
		if len(w.reports.stalls) != 0 {
			w.Errorf("reported: %s", <-w.reports.stalls)
		}
	})
}

func TestLeast(t *testing.T) {
	defer noLeak(t)()
	g, err := NewGroup(0, nil)
	if err != nil || len(g.Loops) != 1 || g.Least() != g.Loops[0] {
		t.Errorf("%v, %v", g, err)
	}
	g.Loops[0].end()
	g, stop := group(t, 3, nil)
	for i := range 9 { // each counts at once, so a burst is dealt evenly
		l := g.Least()
		if l.ID() != i%3 {
			t.Errorf("task %d goes to loop %d", i, l.ID())
		}
		l.GoFrom("task", func(t *Task) { t.Wait(time.Time{}) })
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// broken is a poller whose kernel has enough.
type broken struct{ *virtual }

var errBroken = errors.New("broken")

func (b broken) poll(time.Duration) (int, error) { return 0, errBroken }

// A loop that fails ends its tasks and takes the others with it.
func TestOneLoopFails(t *testing.T) {
	defer noLeak(t)()
	r := newReports()
	bad := NewVirtual(0, r)
	bad.poll = broken{bad.virtual()}
	good := NewVirtual(1, r)
	ended := 0
	for _, l := range []*Loop{bad, good} {
		l.Go("task", func(t *Task) {
			for range 3 {
				if t.Wait(time.Time{}) != Stopped {
					t.Loop().reporter.TaskPanicked("not stopped", nil, nil)
				}
			}
			t.Offload(func() { ended++ }) // to clean up, even where nobody is left to resume it
		})
	}
	posted := false
	bad.Post(func() { posted = true })
	err := (&Group{Loops: []*Loop{bad, good}, reporter: r}).Run(context.Background())
	if !errors.Is(err, errBroken) || ended != 2 || !posted {
		t.Errorf("%v, %d tasks ended, posted function ran: %v", err, ended, posted)
	}
	if p := r.take(); len(p) != 0 {
		t.Errorf("%q", p)
	}
}
