package agent

import (
	"context"
	"errors"
	"testing"

	"gopgpool/cluster"
)

func TestTurn(t *testing.T) {
	var turn turn
	if turn.busy() {
		t.Fatal("busy at the beginning")
	}
	slow, leave, err := turn.take(t.Context(), "base backup", 5, false)
	check(t, err)
	for name, term := range map[string]cluster.Term{"same term": 5, "older term": 4} {
		if _, _, err := turn.take(t.Context(), "start", term, false); !errors.Is(err, cluster.ErrBusy) || slow.Err() != nil {
			t.Fatal(name, err, slow.Err())
		}
	}
	// Who gives up waiting has ended the other one all the same.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := turn.take(gone, "stop", 5, true); !errors.Is(err, context.Canceled) || !errors.Is(context.Cause(slow), errOvertaken) {
		t.Fatal(err, context.Cause(slow))
	}
	go leave() // only once it has ended the next one begins
	next, leaveNext, err := turn.take(t.Context(), "rewind", 6, false)
	if check(t, err); next.Err() != nil {
		t.Fatal(next.Err())
	}
	leaveNext()
	if turn.busy() {
		t.Fatal("busy at the end")
	}
}

func (t *turn) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now != nil
}
