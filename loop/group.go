package loop

import (
	"bytes"
	"context"
	"errors"
	"runtime/pprof"
	"sync"
	"time"
)

// Group is the daemon's set of loops.
type Group struct {
	Loops    []*Loop
	reporter Reporter
}

// NewGroup makes n loops (at least one).
func NewGroup(n int, reporter Reporter) (*Group, error) {
	g := &Group{reporter: reporter}
	for i := range max(n, 1) {
		l, err := New(i, reporter)
		if err != nil {
			for _, l := range g.Loops {
				l.end()
			}
			return nil, err
		}
		g.Loops = append(g.Loops, l)
	}
	return g, nil
}

// Least is the loop with the fewest tasks. Any goroutine may ask.
func (g *Group) Least() *Loop {
	best := g.Loops[0]
	for _, l := range g.Loops[1:] {
		if l.Tasks() < best.Tasks() {
			best = l
		}
	}
	return best
}

// Run turns all loops until ctx ends, and watches that they turn. It returns when all have ended, with their errors.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(g.Loops))
	var loops, watch sync.WaitGroup
	for i, l := range g.Loops {
		loops.Go(func() {
			errs[i] = l.Run(ctx)
			cancel() // one loop that fails ends the daemon in order
		})
	}
	stop := make(chan struct{})
	if g.reporter != nil {
		watch.Go(func() { g.watch(stop) })
	}
	loops.Wait()
	close(stop)
	watch.Wait()
	return errors.Join(errs...)
}

// watch reports loops that are held up by one task.
func (g *Group) watch(stop <-chan struct{}) {
	tick := time.NewTicker(StallAfter)
	defer tick.Stop()
	reported := make([]int64, len(g.Loops))
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			for i, l := range g.Loops {
				since := l.busySince.Load()
				if since == 0 || since == reported[i] || now.UnixNano()-since < int64(StallAfter) {
					continue
				}
				reported[i] = since // once per stall
				name := ""
				if t := l.running.Load(); t != nil {
					name = t.name
				}
				g.reporter.Stalled(l.id, name, time.Duration(now.UnixNano()-since), busyStacks())
			}
		}
	}
}

// busyStacks are the stacks of what runs on loops, the culprit's among them, be it computing or blocked. Parked tasks and
// idle loops are left out. A profile lists equal stacks once, so thousands of parked tasks cost little.
func busyStacks() []byte {
	var buf bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&buf, 1); err != nil {
		return []byte(err.Error())
	}
	var out []byte
	for _, block := range bytes.Split(buf.Bytes(), []byte("\n\n")) {
		from := bytes.IndexByte(block, '#') // behind the heading and the count
		if from < 0 {
			continue
		}
		if stack := block[from:]; onLoop(stack) {
			out = append(append(out, stack...), "\n\n"...)
		}
	}
	return out
}

// onLoop reports whether a stack is that of a task or a loop that is not waiting.
func onLoop(stack []byte) bool {
	if !bytes.Contains(stack, []byte("loop.(*Task).run+")) && !bytes.Contains(stack, []byte("loop.(*Loop).Run+")) {
		return false
	}
	innermost, _, _ := bytes.Cut(stack, []byte("\n"))
	return !bytes.Contains(innermost, []byte("iter.Pull[")) && !bytes.Contains(stack, []byte(").poll+"))
}
