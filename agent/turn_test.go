package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// TestLockOfWhoIsGone: who finds the lock taken may end who has it, and gets it then; else it is busy after a time.
func TestLockOfWhoIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		check(t, err)
		t.Cleanup(func() { _ = f.Close() }) // it may be closed
		return f
	}
	held, next := open(), open()
	check(t, flock(t.Context(), held, time.Minute, func() { t.Error("it was taken") }))
	asked := 0
	if err := flock(t.Context(), next, time.Millisecond, func() { asked++ }); !errors.Is(err, cluster.ErrBusy) || asked == 0 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	check(t, flock(t.Context(), next, time.Minute, func() { check(t, held.Close()) }))
}

func (t *turn) busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now != nil
}
