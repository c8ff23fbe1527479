package vipwatch

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"gopgpool/internal/hosts"
)

// looker asks the kernel of one host for its addresses.
type looker struct {
	watch   *Watch
	host    *hosts.Host
	handle  *netlink.Handle
	changes chan netlink.AddrUpdate
	done    chan struct{}
}

func (w *Watch) newLooker(h *hosts.Host) (*looker, error) {
	l := &looker{watch: w, host: h, changes: make(chan netlink.AddrUpdate, 64), done: make(chan struct{})}
	err := h.Within(func() (err error) {
		// Sockets stay where they were made.
		if err := netlink.AddrSubscribe(l.changes, l.done); err != nil {
			return err
		}
		l.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("addresses of host %s: %w", h.Name, err)
	}
	return l, nil
}

// run looks now and then, and when the kernel tells of a change.
func (l *looker) run(ctx context.Context, every time.Duration) error {
	defer l.close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	s := spell{host: l.host.Name, index: -1, looked: l.watch.Now()}
	changes := l.changes
	for {
		began := l.watch.Now()
		found, err := l.look()
		if err != nil {
			return fmt.Errorf("addresses of host %s: %w", l.host.Name, err)
		}
		l.watch.saw(&s, found, began, l.watch.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case _, ok := <-changes:
			if !ok {
				changes = nil // the tick is enough
			}
		}
	}
}

func (l *looker) close() {
	close(l.done)
	l.handle.Close()
	for range l.changes {
		continue // until the subscription has ended
	}
}

func (l *looker) look() (found bool, err error) {
	list, err := l.handle.AddrList(nil, unix.AF_INET)
	if err != nil {
		return false, err
	}
	for _, a := range list {
		if a.IP.Equal(l.watch.opts.VIP.AsSlice()) {
			return true, nil
		}
	}
	return false, nil
}

// spell is what a looker knows of the present holding.
type spell struct {
	host   string
	index  int           // in Record.Held; -1 while the host does not have the address
	looked time.Duration // the beginning of the last look
}

// saw enters a look.
func (w *Watch) saw(s *spell, found bool, began, ended time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &w.record
	r.Looks++
	if ended-s.looked > 2*lookEvery {
		r.Late++
	}
	r.Coarsest = max(r.Coarsest, ended-s.looked)
	s.looked = began
	switch {
	case found && s.index < 0:
		s.index = len(r.Held)
		r.Held = append(r.Held, Holding{Host: s.host, First: ended, Last: began})
	case found:
		r.Held[s.index].Last = began
	case s.index >= 0:
		r.Held[s.index].Over = true
		s.index = -1
	}
}
