package main

import (
	"errors"
	"time"

	"gopgpool/watchdog/machine"
	"gopgpool/web"
)

// This file joins the HTTP server to the other parts.

// webBacklog is the listen queue for those who ask by HTTP.
const webBacklog = 128

var errNoHTTPAddress = errors.New("no address of http_listen_addresses can be used")

// openWeb makes the HTTP server where one is configured, and opens its sockets.
func (p *parts) openWeb() error {
	c := p.live.Current()
	if c.HTTP.Port == 0 || len(c.HTTP.ListenAddresses) == 0 {
		return nil
	}
	sockets := &listeners{}
	for _, name := range c.HTTP.ListenAddresses {
		sockets.tcp(name, c.HTTP.Port, webBacklog, p.log)
	}
	if len(sockets.fds) == 0 {
		return errNoHTTPAddress
	}
	listeners, err := sockets.take()
	if err != nil {
		return err
	}
	p.web, err = web.New(web.Parts{
		Listeners: listeners, Store: p.store, Traffic: p.proxy, Pool: p.pool, Started: p.serving.Load, Held: p.heldLoops, Fresh: p.freshDelay,
		Watchdog: p.webWatchdog, Version: version, Log: p.partLog("http"),
	})
	return err
}

// heldLoops tells how long each loop has been busy without a break.
func (p *parts) heldLoops() []time.Duration {
	now := time.Now()
	out := make([]time.Duration, len(p.loops.Loops))
	for i, l := range p.loops.Loops {
		out[i] = l.Held(now)
	}
	return out
}

// freshDelay is how old a measured delay of a standby may be: three checks may fail.
func (p *parts) freshDelay() time.Duration {
	period := p.live.Current().StreamingCheck.SrCheckPeriod
	if period == 0 {
		return 0
	}
	return 3*period + 10*time.Second
}

func (p *parts) webWatchdog() *web.Watchdog {
	if p.watchdog == nil {
		return nil
	}
	s := p.watchdog.Snapshot()
	out := &web.Watchdog{
		State: s.Nodes[s.Self].State.String(), Quorum: s.Quorum.String(), Leads: s.Standing == machine.Leads,
		HasVIP: s.VIP, HoldsVIP: s.Held, LeaseLeft: max(s.LeaseEnd-s.At, 0), Alive: s.Alive, Members: s.Members, Required: s.Required,
	}
	return out
}
