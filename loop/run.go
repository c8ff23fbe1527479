package loop

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// shutdownGrace bounds how long tasks may take to end after the loop was told to stop.
const shutdownGrace = 5 * time.Second

// turnsAlone is after how many turns without a sleep the other goroutines get the processor if there is only one: they
// would wait for the scheduler's next preemption. With several, waking an idle one would cost more than it is worth.
const turnsAlone = 16

// Run turns the loop until ctx ends, then gives every task the cause [Stopped], waits for them within a bound, and
// releases the descriptors, those of parked connections too. It returns nil after an orderly end. Call it once.
//
// A task that ignores the cause beyond the bound is an error: its next wait unwinds it, as a panic would, or it is left
// behind where it is inside Offload.
func (l *Loop) Run(ctx context.Context) error {
	unhook := context.AfterFunc(ctx, func() { l.Post(l.beginStop) })
	defer unhook()
	defer l.end()
	l.alone = runtime.GOMAXPROCS(0) == 1
	var deadline time.Time
	for {
		if l.stopping {
			if deadline.IsZero() {
				deadline = l.now.Add(l.grace)
			}
			if len(l.tasks) == 0 && l.closeIfIdle() {
				return nil
			}
			if !l.now.Before(deadline) {
				return fmt.Errorf("loop %d: %d tasks did not end in %v, first %q", l.id, len(l.tasks), l.grace, l.anyTask())
			}
		}
		if err := l.turn(deadline); err != nil {
			return err
		}
	}
}

// turn polls and runs whatever became ready.
func (l *Loop) turn(deadline time.Time) error {
	n, err := l.poll.poll(0)
	if err == nil && n == 0 && len(l.runq) == 0 {
		err = l.sleep(deadline)
	}
	if err != nil {
		return err
	}
	if l.busyTurns++; l.alone && l.busyTurns%turnsAlone == 0 {
		runtime.Gosched()
	}
	l.now = time.Now()
	l.busySince.Store(l.now.UnixNano())
	if l.signaled.Load() {
		l.runPosted()
	}
	l.timers.fire(l)
	l.runReady()
	return nil
}

// sleep blocks until something happens, is posted or is due.
func (l *Loop) sleep(deadline time.Time) error {
	timeout := l.sleepTime(deadline)
	if timeout == 0 {
		return nil
	}
	l.sleeping.Store(true)
	defer l.sleeping.Store(false)
	if l.signaled.Load() {
		return nil
	}
	l.busySince.Store(0)
	l.busyTurns = 0
	_, err := l.poll.poll(timeout)
	return err
}

// sleepTime is how long the poll may block; negative is for ever.
func (l *Loop) sleepTime(deadline time.Time) time.Duration {
	next, ok := l.timers.next()
	if !deadline.IsZero() && (!ok || deadline.Before(next)) {
		next, ok = deadline, true
	}
	if !ok {
		return -1
	}
	return max(time.Until(next), 0)
}

func (l *Loop) runPosted() {
	l.signaled.Store(false)
	l.mu.Lock()
	l.posted, l.swap = l.swap[:0], l.posted
	l.mu.Unlock()
	for i, f := range l.swap {
		l.swap[i] = nil
		l.call(f)
	}
}

func (l *Loop) call(f func()) {
	defer l.caught("posted function")
	f()
}

func (l *Loop) beginStop() {
	l.stopping = true
	for t := range l.tasks {
		t.Stop()
	}
}

func (l *Loop) anyTask() string {
	for t := range l.tasks {
		return t.name
	}
	return ""
}

// closeIfIdle refuses further posts if none waits: what was accepted runs.
func (l *Loop) closeIfIdle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = l.closed || len(l.posted) == 0
	return l.closed
}

func (l *Loop) end() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stopping = true
	l.runPosted() // and a first turn for the tasks that come of it
	l.runReady()
	l.ended = true
	if left := l.dropTasks(); left == 0 {
		l.offloads.Wait()
	}
	l.wakers.Wait()
	l.poll.close()
}

// dropTasks ends the tasks that ignored the stop and tells how many it had to leave behind.
func (l *Loop) dropTasks() (left int) {
	for t := range l.tasks {
		if t.offloaded {
			left++ // the function on the other goroutine may use what the task would give up
		} else {
			l.resume(t, t.unwind)
		}
		l.retire(t)
	}
	return left
}
