package loop

import (
	"container/heap"
	"time"
)

// timer is a task's one deadline. Moving it later or disarming it leaves the heap alone: the stale entry is looked at when
// it comes up. So a deadline that is pushed back at every statement costs a comparison.
type timer struct {
	task  *Task
	at    time.Time // when the task wants to run
	due   time.Time // where it stands in the heap
	index int       // in the heap, -1 if not there
	armed bool
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *timerHeap) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is for container/heap.
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}

func (h *timerHeap) set(t *timer, at time.Time) {
	t.at, t.armed = at, true
	switch {
	case t.index < 0:
		t.due = at
		heap.Push(h, t)
	case at.Before(t.due):
		t.due = at
		heap.Fix(h, t.index)
	}
}

func (h *timerHeap) remove(task *Task) {
	if task.timer.index >= 0 {
		heap.Remove(h, task.timer.index)
	}
}

func (h *timerHeap) next() (time.Time, bool) {
	if len(*h) == 0 {
		return time.Time{}, false
	}
	return (*h)[0].due, true
}

// fire readies the tasks whose time has come and drops or moves entries that have become stale.
func (h *timerHeap) fire(l *Loop) {
	for len(*h) > 0 && !(*h)[0].due.After(l.now) {
		t := (*h)[0]
		switch {
		case !t.armed:
			heap.Pop(h)
		case t.at.After(l.now):
			t.due = t.at
			heap.Fix(h, 0)
		default:
			heap.Pop(h)
			t.armed = false
			l.ready(t.task)
		}
	}
}
