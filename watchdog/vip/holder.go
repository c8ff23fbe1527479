package vip

import (
	"context"
	"time"

	"gopgpool/logging"
)

// lookAgain is the interval of looking without a reason.
const lookAgain = time.Second

// holder is what one Run knows. It belongs to Run's goroutine.
type holder struct {
	*Address
	k    *kernel
	jobs *jobs

	// The latest command of each kind; nil: none yet.
	escalation, up, arping, check, deEscalation, down *job

	keeping bool            // the address is to be where it was put, under its lease
	home    *place          // where it is put if it is missing; nil: not known
	at      []finding       // where it is, when last looked
	leased  time.Duration   // the end of the lease by which it was refreshed last
	ends    time.Duration   // when the lifetime it was given last is over, for the kernel
	placed  bool            // it was put there since last noticed
	putAt   time.Duration   // when it was put there
	raised  bool            // if_up_cmd has ended well and was not undone
	told    bool            // of its being acquired in this tenure
	due     []time.Duration // moments of announcements to come
	running bool            // the device had a carrier when last looked
	fixed   map[int]bool    // loopback devices that have it for good: not ours
	err     string
	warned  bool // of an address that somebody else put here

	toldAgain time.Duration // when the log was told of its being put back
}

func newHolder(a *Address, k *kernel) *holder {
	return &holder{
		Address: a, k: k, fixed: map[int]bool{},
		jobs: &jobs{timeout: a.cfg.CommandTimeout, log: a.log, notify: a.nudge, active: map[*job]struct{}{}},
	}
}

// run is Run with its means at hand.
func (h *holder) run(ctx context.Context) {
	h.clean(ctx)
	for h.awaitWish(ctx) {
		h.tenure(ctx)
	}
	h.jobs.close()
	h.lookIdle()
	h.publish()
}

// find tells where the address is. An address on a loopback device that was there before, as servers behind a balancer have it, is the
// host's own where a command brings it up.
func (h *holder) find() ([]finding, error) {
	if !h.cfg.IP.IsValid() {
		return nil, nil
	}
	all, err := h.k.find(h.cfg.IP)
	var found []finding
	for _, f := range all {
		if !h.fixed[f.link] {
			found = append(found, f)
		}
	}
	return found, err
}

// clean removes what an earlier process has left.
func (h *holder) clean(ctx context.Context) {
	found, err := h.find()
	if err != nil {
		h.log.Log(logging.Event{Severity: logging.Warning, Message: "could not look for a delegate IP left over", Detail: err.Error()})
	}
	for _, f := range found {
		switch {
		case h.plan.own == nil && f.loopback && f.permanent:
			h.fixed[f.link] = true
		case h.plan.leased:
			h.removeStray(f)
		case len(h.plan.down) > 0:
			h.raised = true
			h.lower(ctx)
			return
		}
	}
}

func (h *holder) removeStray(f finding) {
	if err := h.k.remove(f); err != nil {
		h.log.Log(logging.Event{Severity: logging.Warning, Message: "could not remove a delegate IP left over", Detail: err.Error()})
		return
	}
	h.log.Log(leftOver(h.cfg.IP, f.device))
}

// wanted reports whether the address is to be held now.
func (h *holder) wanted(ctx context.Context) bool {
	d := h.wish()
	return ctx.Err() == nil && d.Hold && h.now() < d.Until
}

// awaitWish waits until the address is wanted; false at the end of ctx.
func (h *holder) awaitWish(ctx context.Context) bool {
	for !h.wanted(ctx) {
		if ctx.Err() != nil {
			return false
		}
		h.lookIdle()
		h.publish()
		h.sleep(ctx, nil, lookAgain)
	}
	return true
}

// lookIdle looks for the address where it should not be. It is removed if a command of ours may have put it there; others, such as
// another pgpool on this host, are only told of.
func (h *holder) lookIdle() {
	found, err := h.find()
	if err != nil {
		return // the next look tells more
	}
	if h.plan.leased {
		ours := !h.up.ended() || !h.down.ended() || len(h.at) > 0
		h.at = nil
		for _, f := range found {
			if ours {
				h.at = append(h.at, f)
				h.removeStray(f)
			}
		}
		if len(h.at) > 0 {
			return
		}
	}
	if len(found) > 0 && !h.warned && !h.raised && !h.busy() {
		h.log.Log(foreign(h.cfg.IP, found[0].device))
	}
	h.warned = len(found) > 0
	if h.down.ended() {
		h.raised, h.at = false, nil
	}
	h.err = ""
}

// busy reports whether a command of a transition is running.
func (h *holder) busy() bool {
	for _, j := range []*job{h.escalation, h.up, h.arping, h.deEscalation, h.down} {
		if !j.ended() {
			return true
		}
	}
	return false
}

// publish makes known what there is.
func (h *holder) publish() {
	s := State{Held: len(h.at) > 0 || h.raised && h.home == nil, Busy: h.busy(), Err: h.err}
	if len(h.at) > 0 {
		s.Device, s.Leased = h.at[0].device, h.plan.leased && h.leased > 0
		s.Unplugged = !h.at[0].running
	}
	h.Address.publish(s)
}

// sleep waits for a reason to look: a job's end, a call of Set, an event of the kernel, the end of ctx, or the time.
func (h *holder) sleep(ctx context.Context, done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(max(d, time.Millisecond))
	defer timer.Stop()
	select {
	case <-done:
	case <-h.wake:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// wait lets time pass while the address is wanted, and looks after it. It returns true when the job has ended; without a job that never
// is.
func (h *holder) wait(ctx context.Context, j *job) bool {
	var done chan struct{}
	if j != nil {
		done = j.done
	}
	for h.wanted(ctx) {
		h.tend(ctx)
		if j != nil && j.ended() {
			return true
		}
		h.publish()
		h.sleep(ctx, done, h.next())
	}
	return false
}

// next is how long nothing needs to be done.
func (h *holder) next() time.Duration {
	now := h.now()
	d := min(lookAgain, h.wish().Until-now)
	if h.plan.leased {
		d = min(d, putAgain)
	}
	if h.home != nil && len(h.at) == 0 {
		d = min(d, putAgain)
	}
	if len(h.due) > 0 {
		d = min(d, h.due[0]-now)
	}
	return d
}

// tenure is one time of holding the address, from the escalation to the moment it is gone.
func (h *holder) tenure(ctx context.Context) {
	for _, e := range escalationStarts() {
		h.log.Log(e)
	}
	h.told, h.raised, h.leased, h.putAt, h.err, h.due, h.home, h.at = false, false, 0, 0, "", nil, h.plan.own, nil
	if h.escalate(ctx) && h.raise(ctx) {
		h.log.Log(escalationEnds())
		h.wait(ctx, nil)
	}
	h.release(ctx)
}

// escalate runs wd_escalation_command. It reports whether the address is still wanted.
func (h *holder) escalate(ctx context.Context) bool {
	command := ask(h.cfg.EscalationCommand)
	if command == "" {
		return true
	}
	h.escalation = h.jobs.start(ctx, h.deEscalation, h.logged("wd_escalation_command", h.jobs.shell(command)))
	return h.wait(ctx, h.escalation)
}

func ask(command func() string) string {
	if command == nil {
		return ""
	}
	return command()
}

// logged tells how a command ended.
func (h *holder) logged(parameter string, work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		err := work(ctx)
		h.log.Log(commandEnded(parameter, err))
		return err
	}
}

// raise brings the address up, ourselves or by if_up_cmd. It reports whether the address is still wanted.
func (h *holder) raise(ctx context.Context) bool {
	switch {
	case !h.cfg.IP.IsValid():
		return true
	case h.plan.own != nil:
		h.keeping = true
		h.tend(ctx)
		return h.wanted(ctx)
	}
	h.keeping = true // the command may take its time after the address is there
	h.up = h.jobs.start(ctx, h.down, h.jobs.command(h.plan.up, h.cfg.CommandPath))
	if !h.wait(ctx, h.up) {
		h.up.cancel(errNotWanted)
		return false
	}
	if h.up.err != nil {
		h.fail("'if_up_cmd' failed: " + h.up.err.Error())
		return true
	}
	h.raised = true
	if h.home == nil && h.plan.leased {
		h.log.Log(notLeased(h.cfg.IP))
	}
	h.succeed(ctx)
	return true
}

// succeed tells once in a tenure that the address is up, and runs what comes after that.
func (h *holder) succeed(ctx context.Context) {
	h.err = ""
	if h.told {
		return
	}
	h.told = true
	h.log.Log(acquired(h.cfg.IP, "'if_up_cmd' returned with success"))
	if len(h.plan.arping) > 0 {
		h.tellNeighbours(ctx, h.plan.arping)
	}
	program, err := executable("ping", h.cfg.PingPath)
	if err != nil {
		h.log.Log(logging.Event{Message: "it is not checked whether the delegate IP answers ping", Detail: err.Error()})
		return
	}
	h.check = h.jobs.start(ctx, nil, h.pinger(program))
}

// tellNeighbours runs arping_cmd.
func (h *holder) tellNeighbours(ctx context.Context, argv []string) {
	work := h.jobs.command(argv, h.cfg.ArpingPath)
	h.arping = h.jobs.start(ctx, h.arping, func(ctx context.Context) error {
		err := work(ctx)
		if err != nil {
			h.logAll(notAcquired("'arping_cmd' failed: " + err.Error()))
		}
		return err
	})
}

// pingAgain is the pause between two rounds.
const pingAgain = time.Second

// pinger checks that the address answers, in up to three rounds. Nothing depends on it.
func (h *holder) pinger(program string) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		for range 3 {
			if err = h.jobs.ping(ctx, program, h.cfg.IP.String()); err == nil {
				h.log.Log(logging.Event{Message: "the delegate IP " + h.cfg.IP.String() + " answers ping"})
				return nil
			}
			if ctx.Err() != nil {
				return err
			}
			h.log.Log(logging.Event{Message: "waiting for the delegate IP address to become active"})
			select {
			case <-time.After(pingAgain): // one that cannot ping at all fails at once
			case <-ctx.Done():
			}
		}
		h.log.Log(logging.Event{
			Severity: logging.Warning, Message: "the delegate IP " + h.cfg.IP.String() + " does not answer ping", Detail: err.Error(),
		})
		return err
	}
}

func (h *holder) logAll(events []logging.Event) {
	for _, e := range events {
		h.log.Log(e)
	}
}

// fail tells why the address is not up, once for each reason.
func (h *holder) fail(why string) {
	if h.err != why {
		h.logAll(notAcquired(why))
	}
	h.err = why
}
