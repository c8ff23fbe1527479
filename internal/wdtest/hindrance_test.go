package wdtest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gopgpool/internal/site"
)

// hindrance is how long a machine with other work, or a slow disk, holds up whoever has to write something to disk now and then, as the
// nodes of a watchdog have.
type hindrance struct {
	t     *testing.T
	file  *os.File
	stop  context.CancelFunc
	ended chan struct{}
	late  time.Duration // read after ended
}

// probeEvery is how often that is tried, probeUsual what it takes at most on a machine that holds up nobody.
const (
	probeEvery = 100 * time.Millisecond
	probeUsual = 50 * time.Millisecond
)

func startHindrance(t *testing.T) *hindrance {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "probe"))
	site.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	h := &hindrance{t: t, file: file, stop: cancel, ended: make(chan struct{})}
	go h.run(ctx)
	t.Cleanup(func() { h.end() })
	return h
}

func (h *hindrance) run(ctx context.Context) {
	defer close(h.ended)
	defer h.file.Close()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := h.file.WriteAt([]byte("probe"), 0)
		if err == nil {
			err = h.file.Sync()
		}
		if err != nil {
			h.t.Error(err)
			return
		}
		now := time.Now()
		h.late += max(now.Sub(last)-probeEvery-probeUsual, 0)
		last = now
	}
}

// end tells how long it was.
func (h *hindrance) end() time.Duration {
	h.stop()
	<-h.ended
	return h.late
}
