package loop

import (
	"testing"
	"time"
)

// Only what is due makes its task ready: entries that have become stale are dropped or moved in silence.
func TestTimerHeap(t *testing.T) {
	begin := time.Now()
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	for _, tt := range []struct {
		name  string
		set   []int // seconds; 0 disarms
		fires []int // seconds at which fire is called
		ready int   // the fire that makes the task ready, -1: none
		left  int   // entries in the heap
	}{
		{"not due", []int{5}, []int{4}, -1, 1},
		{"due", []int{5}, []int{4, 5}, 1, 0},
		{"late", []int{5}, []int{9}, 0, 0},
		{"moved later", []int{5, 9}, []int{5, 8, 9}, 2, 0},
		{"moved earlier", []int{9, 5}, []int{4, 5}, 1, 0},
		{"disarmed", []int{5, 0}, []int{4, 5}, -1, 0},
		{"disarmed and not looked at", []int{5, 0}, []int{4}, -1, 1},
		{"armed again", []int{5, 0, 7}, []int{5, 7}, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := NewVirtual(0, nil)
			task := &Task{loop: l}
			task.timer = timer{task: task, index: -1}
			for _, s := range tt.set {
				if s == 0 {
					task.timer.armed = false
				} else {
					l.timers.set(&task.timer, at(s))
				}
			}
			ready := -1
			for i, s := range tt.fires {
				l.now = at(s)
				l.timers.fire(l)
				if task.queued && ready < 0 {
					ready = i
				}
			}
			if ready != tt.ready || len(l.timers) != tt.left {
				t.Errorf("ready at %d, want %d; %d entries, want %d", ready, tt.ready, len(l.timers), tt.left)
			}
		})
	}
}
