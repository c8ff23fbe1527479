package sim

import "time"

// event is something that happens at a moment. Events of one moment happen in the order in which they were added.
type event struct {
	at     time.Duration
	number uint64
	do     func()
}

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.number < o.number }

// queue is a heap of what is to come.
type queue struct {
	events []event
	next   uint64
}

func (q *queue) add(at time.Duration, do func()) {
	q.events = append(q.events, event{at: at, number: q.next, do: do})
	q.next++
	for i := len(q.events) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.events[i].before(q.events[up]) {
			return
		}
		q.events[i], q.events[up] = q.events[up], q.events[i]
		i = up
	}
}

// take removes the first event; false if there is none before the end.
func (q *queue) take(end time.Duration) (event, bool) {
	if len(q.events) == 0 || q.events[0].at > end {
		return event{}, false
	}
	first, last := q.events[0], len(q.events)-1
	q.events[0] = q.events[last]
	q.events[last] = event{}
	q.events = q.events[:last]
	q.sink()
	return first, true
}

func (q *queue) sink() {
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(q.events); child++ {
			if q.events[child].before(q.events[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		q.events[i], q.events[least] = q.events[least], q.events[i]
		i = least
	}
}
