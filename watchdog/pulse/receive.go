package pulse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopgpool/logging"
)

// receiver receives on one element of our own list of addresses: on every address the name means.
type receiver struct {
	pulse *Pulse
	at    Listener
}

func (r *receiver) name() string {
	name := net.JoinHostPort(r.at.Address, strconv.Itoa(r.at.Port))
	if r.at.Device != "" {
		name += " of " + r.at.Device
	}
	return name
}

// run receives until ctx ends or a socket fails.
func (r *receiver) run(ctx context.Context) error {
	if r.at.Device != "" && !r.pulse.root {
		r.pulse.log.Log(logging.Event{
			Severity: logging.Warning, Message: "heartbeat receiver on " + r.name() + " is not created",
			Detail: "only root may bind a socket to a device",
		})
		return nil
	}
	device, sockets, err := r.bind(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		for _, c := range sockets {
			_ = c.Close()
		}
	})
	defer stop()
	var readers sync.WaitGroup
	for _, c := range sockets {
		readers.Go(func() { cancel(r.read(c, device)) })
	}
	readers.Wait()
	return context.Cause(ctx)
}

// bind makes five attempts; it also returns the number of the device.
func (r *receiver) bind(ctx context.Context) (device int, sockets []*net.UDPConn, err error) {
	for range bindTries {
		device, err = deviceIndex(r.at.Device)
		if err == nil {
			sockets, err = r.listen(ctx)
		}
		if err == nil || !sleep(ctx, r.pulse.bindInterval) {
			break
		}
	}
	return device, sockets, err
}

// listen opens the sockets. Of several addresses a name means one suffices.
func (r *receiver) listen(ctx context.Context) (sockets []*net.UDPConn, failed error) {
	addresses := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	if r.at.Address != "*" {
		var err error
		limit, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		if addresses, err = r.resolve(limit); err != nil {
			return nil, err
		}
	}
	for _, a := range addresses {
		c, err := listen(ctx, netip.AddrPortFrom(a.Unmap(), uint16(r.at.Port)), r.at.Device)
		if err != nil {
			failed = err
			continue
		}
		sockets = append(sockets, c)
	}
	if len(sockets) > 0 {
		return sockets, nil
	}
	return nil, failed
}

func (r *receiver) resolve(ctx context.Context) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(r.at.Address); err == nil {
		return []netip.Addr{a}, nil
	}
	return r.pulse.lookup(ctx, "ip", r.at.Address)
}

// read takes packets until the socket fails. A device that was replaced by another one of that name fails it: the socket would
// stay bound to the one that is gone, and hear nothing.
func (r *receiver) read(c *net.UDPConn, device int) error {
	b := make([]byte, maxPacket+1)
	checked := time.Now()
	for {
		if err := c.SetReadDeadline(time.Now().Add(deviceCheck)); err != nil {
			return err
		}
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err == nil {
			r.pulse.receive(b[:n], from.Addr().Unmap())
		}
		if time.Since(checked) < deviceCheck {
			continue
		}
		checked = time.Now()
		switch now, err := deviceIndex(r.at.Device); {
		case err != nil:
			return err
		case now != device:
			return fmt.Errorf("device %s was replaced", r.at.Device)
		}
	}
}

// receive judges one datagram.
func (p *Pulse) receive(b []byte, from netip.Addr) {
	at := bootTime()
	n, heard, err := p.admit(b, from)
	if err != nil {
		p.forgeries.Add(1)
		p.forged.Log(p.log, logging.Event{
			Severity: logging.Error, Message: "watchdog heartbeat receive", Detail: fmt.Sprintf("%v, packet from %s", err, from),
		})
		return
	}
	n.mu.Lock()
	v := n.contact.hear(&heard)
	asks := v == strange || v == met
	answer := asks && n.mayAnswerLocked(time.Now())
	n.mu.Unlock()
	p.count(n, v)
	if v == alive || v == met {
		p.report(n.Node, from.String(), at)
	}
	switch {
	case answer:
		p.send(n)
	case asks:
		nudge(p.owe)
	}
}

func (p *Pulse) count(n *node, v verdict) {
	switch v {
	case alive, met:
		p.alive.Add(1)
	case strange:
		p.strange.Add(1)
	case stale:
		p.stale.Add(1)
		n.old.Log(p.log, logging.Event{
			Severity: logging.Notice, Message: fmt.Sprintf("heartbeat of node %d is ignored", n.Node),
			Detail: "it is not newer than the last one, or was recorded earlier",
		})
	}
}

// admit tells whose packet it is. The MAC is computed last, for packets that are for us and look right.
func (p *Pulse) admit(b []byte, from netip.Addr) (*node, packet, error) {
	heard, err := parse(b)
	if err != nil {
		return nil, packet{}, err
	}
	if int(heard.To) != p.config.Self {
		return nil, packet{}, fmt.Errorf("a heartbeat for node %d", heard.To)
	}
	for _, n := range p.nodes {
		if n.Node != int(heard.From) {
			continue
		}
		if n.PgpoolPort != int(heard.Port) || !strings.EqualFold(n.Host, heard.Host) && n.Host != from.String() {
			break
		}
		return n, heard, authentic(b, heard.Host, p.config.Key)
	}
	return nil, packet{}, fmt.Errorf("no node %d with host %q and port %d is configured", heard.From, heard.Host, heard.Port)
}
