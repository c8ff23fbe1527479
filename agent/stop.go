package agent

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"gopgpool/cluster"
)

// quitTime is how long a server may take to end by itself when it is stopped at once.
const quitTime = time.Second

// Stop stops the server and returns when none of its processes is left.
//
// StopFast ends sessions, has standbys receive what they lack, and ends with a checkpoint (pg_ctl stop -m fast). It takes as long as ctx
// lets it; a frozen server does not end so. StopNow has the server abort (pg_ctl stop -m immediate); what is left of it a second later, or
// at once where its first process is frozen, is killed.
//
// end is the end of the WAL of a primary that was shut down cleanly: behind the record of its shutdown checkpoint, which a standby must
// have received to have everything. It is 0 for a standby and after a server that was not shut down cleanly. A server that does not run
// is stopped.
func (l *Local) Stop(ctx context.Context, term cluster.Term, mode cluster.StopMode) (end cluster.LSN, err error) {
	name := "fast stop"
	if mode == cluster.StopNow {
		name = "immediate stop"
	}
	err = l.act(ctx, term, name, true, func(ctx context.Context, s *site) error {
		if err := s.halt(ctx, mode); err != nil {
			return err
		}
		end, err = s.shutdownEnd(ctx)
		if mode == cluster.StopNow { // nothing runs, whatever its files say
			return nil
		}
		return err
	})
	return end, err
}

// shutdownEnd is Stop's result for a server that does not run.
func (s *site) shutdownEnd(ctx context.Context) (cluster.LSN, error) {
	there, err := s.exists(s.data + "/global/pg_control")
	if err != nil || !there {
		return 0, err
	}
	d, err := s.controlData(ctx, &s.place)
	if err != nil || d.state != stateShutDown {
		return 0, err
	}
	return d.end(&s.place), nil
}

// halt ends all processes of the server.
func (s *site) halt(ctx context.Context, mode cluster.StopMode) error {
	g := s.gang()
	if g.running() {
		var err error
		if mode == cluster.StopNow {
			err = s.quit(ctx, &g)
		} else if err = g.first.signal(syscall.SIGINT); err == nil {
			err = s.gone(ctx, g.first)
		}
		if err != nil {
			return err
		}
	}
	return s.sweep(ctx)
}

// quit has a server abort, for a short time.
func (s *site) quit(ctx context.Context, g *gang) error {
	if g.first.frozen {
		return nil
	}
	if err := g.first.signal(syscall.SIGQUIT); err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, quitTime)
	defer cancel()
	_ = s.gone(soon, g.first) // if not, it is killed next, also when ctx has ended: whoever orders this wants nothing left
	return nil
}

func (s *site) gone(ctx context.Context, p process) error {
	err := poll(ctx, func() (bool, error) {
		s.child.reap()
		return !p.alive(), nil
	})
	if err != nil {
		return fmt.Errorf("process %d still runs: %w", p.pid, err)
	}
	return nil
}

// sweep kills what is left of a server, its first process first so that it does not start others, until nothing is.
func (s *site) sweep(ctx context.Context) error {
	left := 0
	err := poll(ctx, func() (bool, error) {
		s.child.reap()
		g := s.gang()
		left = len(g.all)
		var errs []error
		if g.running() {
			errs = append(errs, g.first.signal(syscall.SIGKILL))
		}
		for _, p := range g.all {
			errs = append(errs, p.signal(syscall.SIGKILL)) // a stopped process dies of it too
		}
		return left == 0, errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("%d processes of the server still run: %w", left, err)
	}
	return nil
}
