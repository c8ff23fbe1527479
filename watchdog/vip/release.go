package vip

import (
	"context"
	"errors"
	"time"
)

const (
	// downHeadStart is how long if_down_cmd, while the lease still runs, may take before we remove the address under it.
	downHeadStart = 500 * time.Millisecond
	// releaseMargin is left of the lease when a release stops waiting for a command.
	releaseMargin = 100 * time.Millisecond
	// removeLimit bounds how long we try to remove an address, beyond its lease; its lifetime is over by then.
	removeLimit = 2 * time.Second
	// removeAgain is the pause between two tries.
	removeAgain = 20 * time.Millisecond
)

// release gives up what the tenure has. It returns when the address is gone; commands may still run then.
func (h *holder) release(ctx context.Context) {
	h.log.Log(deEscalationStarts())
	lower := h.lower
	if !h.keeping {
		lower = func(context.Context) {} // it was never raised
	}
	h.keeping, h.due, h.err = false, nil, ""
	if h.check != nil {
		h.check.cancel(errNotWanted)
	}
	if h.graceful(ctx) {
		h.deEscalate(ctx)
		h.await(ctx, h.deEscalation, h.wish().Until-releaseMargin, h.graceful)
		lower(ctx)
		return
	}
	lower(ctx)
	h.deEscalate(ctx)
}

// graceful reports whether there is time for a command before the address goes.
func (h *holder) graceful(ctx context.Context) bool {
	d := h.wish()
	return h.now() < d.Until && (!d.Hold && d.Graceful || d.Hold && ctx.Err() != nil)
}

// leaseEnd is the end of the last lease, also if the word that it is not wanted any more did not repeat it.
func (h *holder) leaseEnd() time.Duration { return max(h.leased, h.wish().Until) }

// deEscalate runs wd_de_escalation_command beside.
func (h *holder) deEscalate(ctx context.Context) {
	if command := ask(h.cfg.DeEscalationCommand); command != "" {
		h.deEscalation = h.jobs.start(ctx, h.escalation, h.logged("wd_de_escalation_command", h.jobs.shell(command)))
	}
}

// await waits for a job until a moment, as long as it is worth it. The end of ctx does not end it.
func (h *holder) await(ctx context.Context, j *job, until time.Duration, worth func(context.Context) bool) {
	lasting := context.WithoutCancel(ctx)
	for !j.ended() && h.now() < until && worth(ctx) {
		h.publish()
		h.sleep(lasting, j.done, until-h.now())
	}
}

// lower takes the address away, by if_down_cmd where that was not understood as ours to do. It returns when the address is gone, or
// nothing more can be done about it than its lifetime does.
func (h *holder) lower(ctx context.Context) {
	if !h.cfg.IP.IsValid() {
		return
	}
	always := func(context.Context) bool { return true }
	h.await(ctx, h.up, h.now()+overlap, always) // it was ended already
	local := h.plan.leased && (h.plan.own != nil || len(h.at) > 0)
	if len(h.plan.down) > 0 {
		h.down = h.jobs.start(ctx, h.up, h.downWork(local))
		h.await(ctx, h.down, min(h.now()+downHeadStart, h.leaseEnd()-releaseMargin), always)
	}
	if !h.plan.leased {
		return
	}
	if err := h.removeAll(ctx); err != nil {
		h.err = err.Error()
		h.logAll(notReleased(h.err))
		return
	}
	if local {
		h.log.Log(released(h.cfg.IP, "'if_down_cmd' returned with success"))
	}
	h.at = nil
}

// downWork runs if_down_cmd. On its success depends only an address that is on no device of this host.
func (h *holder) downWork(local bool) func(context.Context) error {
	work := h.jobs.command(h.plan.down, h.cfg.CommandPath)
	return func(ctx context.Context) error {
		err := work(ctx)
		switch {
		case local:
			h.log.Log(commandEnded("if_down_cmd", err))
		case err == nil:
			h.log.Log(released(h.cfg.IP, "'if_down_cmd' returned with success"))
		default:
			h.logAll(notReleased("'if_down_cmd' failed: " + err.Error()))
		}
		return err
	}
}

// removeAll removes the address from every device until it is on none.
func (h *holder) removeAll(ctx context.Context) error {
	lasting := context.WithoutCancel(ctx)
	for limit := max(h.now(), h.leaseEnd()) + removeLimit; ; {
		found, err := h.find()
		for _, f := range found {
			err = errors.Join(err, h.k.remove(f))
		}
		if err == nil && len(found) == 0 {
			return nil
		}
		if h.now() > limit {
			return err
		}
		if err != nil {
			h.sleep(lasting, nil, removeAgain)
		}
	}
}
