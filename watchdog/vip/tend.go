package vip

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/logging"
)

// announceAgain is the interval of announcements without a reason.
const announceAgain = 10 * time.Second

// putAgain is the least time between two placings: somebody may keep on removing the address.
const putAgain = 200 * time.Millisecond

// tend looks where the address is, puts it back if it is missing, and refreshes its lifetime when the lease was renewed.
func (h *holder) tend(ctx context.Context) {
	wish := h.wish()
	if !h.keeping || !wish.Hold { // given up just now: it goes by way of release, which knows then that it was here
		return
	}
	found, err := h.find()
	if err != nil {
		h.fail(err.Error())
		return
	}
	if h.plan.leased {
		found, err = h.enforce(found, wish.Until)
	}
	h.noticed(ctx, found)
	if err != nil {
		h.fail(err.Error())
	}
	h.announceDue(ctx)
}

// enforce gives every finding its lifetime, or places the address where there is none. It returns what is there afterwards.
func (h *holder) enforce(found []finding, until time.Duration) ([]finding, error) {
	if h.plan.own != nil {
		found = h.atHome(found)
	}
	if len(found) == 0 && h.home != nil {
		now := h.now()
		if lifetime(now, until) == 0 || h.putAt > 0 && now-h.putAt < putAgain {
			return nil, nil // the next renewal of the lease places it, or the next look
		}
		h.putAt = now
		return h.put(*h.home, until)
	}
	var left []finding
	for _, f := range found {
		if until == h.leased && !f.outlasts(h.now(), until) && !h.gains(until) {
			left = append(left, f)
			continue
		}
		there, err := h.refresh(f, until)
		if err != nil {
			return left, err
		}
		if there {
			left = append(left, f)
		}
	}
	if len(left) > 0 && lifetime(h.now(), until) > 0 {
		h.leased = until
	}
	return left, nil
}

// gains reports whether a refresh would make the address last longer under the same lease: the kernel counts whole seconds, so a
// lifetime given early in a lease ends well before it.
func (h *holder) gains(until time.Duration) bool {
	now := h.now()
	seconds := lifetime(now, until)
	return seconds > 0 && now+time.Duration(seconds)*time.Second > h.ends+200*time.Millisecond
}

// atHome removes the address from devices where we do not place it.
func (h *holder) atHome(found []finding) (home []finding) {
	for _, f := range found {
		if f.device == h.plan.own.device {
			home = append(home, f)
		} else {
			h.removeStray(f)
		}
	}
	return home
}

// put places the address, for a second first: if this process is frozen right here and thaws after the lease has ended, the kernel
// removes by itself what the call still does, should we be frozen again before we can. The rest of the time comes by a refresh.
func (h *holder) put(where place, until time.Duration) ([]finding, error) {
	if err := h.k.create(where, 1); err != nil {
		return nil, err
	}
	h.leased, h.placed = 0, true
	found, err := h.find()
	if outlives(h.now(), until, 1) {
		for _, f := range found {
			err = errors.Join(err, h.k.remove(f))
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return h.enforce(found, until)
}

// refresh sets the lifetime of an address that is there, and reports whether it still is. The clock is read before and after: if the
// call came so late that the address would outlive the lease, it is set anew or removed.
func (h *holder) refresh(f finding, until time.Duration) (there bool, err error) {
	for late := false; ; late = true {
		seconds := lifetime(h.now(), until)
		if seconds == 0 {
			if late || f.outlasts(h.now(), until) {
				return false, h.k.remove(f)
			}
			return true, nil // what it has ends in time
		}
		h.ends = h.now() + time.Duration(seconds)*time.Second
		err := h.k.refresh(f, seconds)
		if errors.Is(err, errMissing) {
			h.nudge() // the next look puts it back
			return false, nil
		}
		if err != nil || !outlives(h.now(), until, seconds) {
			return err == nil, err
		}
	}
}

// noticed compares what is there with what was.
func (h *holder) noticed(ctx context.Context, found []finding) {
	before := h.at
	h.at = found
	if len(found) == 0 {
		return
	}
	running := h.running
	h.running = found[0].running
	appeared := len(before) == 0 || h.placed
	h.placed = false
	if now := h.now(); appeared && h.told && h.plan.leased && now-h.toldAgain >= time.Second {
		h.toldAgain = now
		h.log.Log(placedAgain(h.cfg.IP, found[0].device))
	}
	if h.home == nil {
		where := found[0].place()
		h.home = &where
	}
	if appeared || !running && h.running || h.again.Swap(false) {
		h.announceSoon()
	}
	if h.plan.own != nil {
		h.succeed(ctx)
	}
}

// announceSoon plans the announcements: at once, and again for those who did not hear or may not change their mind so soon.
func (h *holder) announceSoon() {
	if !h.plan.leased {
		return // arping_cmd does
	}
	now := h.now()
	h.due = h.due[:0]
	for _, d := range []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second} {
		h.due = append(h.due, now+d)
	}
}

// announceDue tells the neighbours, if it is time.
func (h *holder) announceDue(ctx context.Context) {
	now, due := h.now(), false
	for len(h.due) > 0 && h.due[0] <= now {
		h.due, due = h.due[1:], true
	}
	if !due || len(h.at) == 0 {
		return
	}
	if len(h.due) == 0 {
		h.due = append(h.due, now+announceAgain) // somebody may have missed all, or have heard of another holder meanwhile
	}
	err := h.announce(h.at[0])
	if err == nil || h.at[0].loopback || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENODEV) {
		return
	}
	h.due = nil
	if !errors.Is(err, errNoEthernet) { // such a device may have no need of it
		h.log.Log(logging.Event{
			Severity: logging.Warning, Message: "could not announce the delegate IP to the neighbours", Detail: err.Error(),
		})
	}
	if len(h.plan.spare) > 0 {
		h.tellNeighbours(ctx, h.plan.spare)
	}
}

func (h *holder) announce(f finding) error {
	link, err := h.k.handle.LinkByIndex(f.link)
	if err != nil {
		return err
	}
	dev, err := h.k.device(link)
	if err != nil {
		return err
	}
	return announce(dev, h.cfg.IP)
}
