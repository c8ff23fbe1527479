package loop

import (
	"fmt"
	"runtime/debug"
	"time"
)

// Offload runs f on a goroutine of its own and resumes the task when f has returned; the loop serves others meanwhile.
// It waits for f even when the task is stopped, so f may use the task's variables; f must end by itself. If f panics, so
// does Offload: what f should have found out must not be taken for found.
func (t *Task) Offload(f func()) {
	if t.dropped {
		f() // nobody else is left on the loop
		return
	}
	l := t.loop
	o := offloaded{task: t, f: f}
	l.offloads.Add(1)
	t.offloaded = true
	go o.run()
	for !o.over {
		t.park(time.Time{})
	}
	t.offloaded = false
	if o.panicked != nil {
		panic(o.panicked)
	}
}

// offloaded is one call of Offload. over and panicked are the loop's once over was posted.
type offloaded struct {
	task     *Task
	f        func()
	returned bool // f has, rather than panicked
	over     bool
	panicked *offloadPanic
}

func (o *offloaded) run() {
	defer o.task.loop.offloads.Done()
	defer o.task.loop.Post(o.resume)
	defer o.caught()
	o.f()
	o.returned = true
}

func (o *offloaded) caught() {
	v := recover()
	if v == nil && !o.returned {
		v = "runtime.Goexit in an offloaded function"
	}
	if v != nil {
		o.panicked = &offloadPanic{value: v, stack: debug.Stack()}
	}
}

func (o *offloaded) resume() {
	o.over = true
	o.task.loop.ready(o.task)
}

// offloadPanic is what Offload panics with.
type offloadPanic struct {
	value any
	stack []byte
}

func (p *offloadPanic) Error() string { return fmt.Sprint("offloaded function: ", p.value) }
