package pulse

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"gopgpool/logging"
)

// sender sends on one path. Its name is resolved by a goroutine of its own: a packet goes to the address that is known, and
// if there is none, as soon as there is.
type sender struct {
	pulse *Pulse
	path  Path
	index uint8
	name  string
	wake  chan struct{} // capacity 1: there is something to send, or an address
	ask   chan struct{} // capacity 1: the name shall be resolved
	lines logging.Limiter

	mu      sync.Mutex // guards all below
	packets []packet   // of the newest beat, if they were not sent
	newest  uint64     // the number of that beat
	address netip.Addr
}

func newSender(p *Pulse, path Path, index uint8) *sender {
	s := &sender{
		pulse: p, path: path, index: index, name: net.JoinHostPort(path.Host, strconv.Itoa(path.Port)),
		wake: make(chan struct{}, 1), ask: make(chan struct{}, 1),
	}
	if path.Device != "" {
		s.name += " through " + path.Device
	}
	return s
}

// post replaces what waits: an older beat is worth nothing. Neither is one that comes late, because an answer was made meanwhile on
// another goroutine: the receiver would take it for a recording.
func (s *sender) post(packets []packet) {
	s.mu.Lock()
	if beat := packets[0].Mark.Seq; beat > s.newest {
		s.packets, s.newest = packets, beat
	}
	s.mu.Unlock()
	nudge(s.wake)
	nudge(s.ask)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns what there is to send, if it is known where to.
func (s *sender) take() ([]packet, netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.address.IsValid() {
		return nil, netip.Addr{}
	}
	packets := s.packets
	s.packets = nil
	return packets, s.address
}

// resolve looks up the name whenever it is asked to. An address that is known stays when a lookup fails.
func (s *sender) resolve(ctx context.Context) {
	if a, err := netip.ParseAddr(s.path.Host); err == nil {
		s.moved(a.Unmap())
		return
	}
	for {
		select {
		case <-s.ask:
		case <-ctx.Done():
			return
		}
		limit, cancel := context.WithTimeout(ctx, lookupTimeout)
		addresses, err := s.pulse.lookup(limit, "ip", s.path.Host)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case len(addresses) > 0:
			s.moved(addresses[0].Unmap())
		case err != nil:
			s.lines.Log(s.pulse.log, logging.Event{
				Severity: logging.Warning, Message: "heartbeat destination " + s.path.Host + " cannot be resolved", Detail: err.Error(),
			})
		}
	}
}

func (s *sender) moved(to netip.Addr) {
	s.mu.Lock()
	s.address = to
	s.mu.Unlock()
	nudge(s.wake)
}

// run sends until ctx ends or a packet cannot be sent. The next run then has a new socket: a device may have come back under the same
// name.
func (s *sender) run(ctx context.Context) error {
	device := s.path.Device
	if device != "" && !s.pulse.root {
		device = ""
		s.lines.Log(s.pulse.log, logging.Event{
			Message: "heartbeat sender to " + s.name + " ignores the device", Detail: "only root may bind a socket to a device",
		})
	}
	sockets := map[bool]*net.UDPConn{} // by whether it is for IPv4
	defer func() {
		for _, c := range sockets {
			_ = c.Close()
		}
	}()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil
		}
		packets, to := s.take()
		if len(packets) == 0 {
			continue
		}
		c := sockets[to.Is4()]
		if c == nil {
			var err error
			if c, err = open(ctx, to, device); err != nil {
				return err
			}
			sockets[to.Is4()] = c
		}
		if err := s.write(c, packets, to); err != nil {
			return err
		}
	}
}

func (s *sender) write(c *net.UDPConn, packets []packet, to netip.Addr) error {
	if err := c.SetWriteDeadline(time.Now().Add(s.pulse.config.Keepalive)); err != nil {
		return err
	}
	for _, p := range packets {
		p.Path = s.index
		b := p.append(make([]byte, 0, maxPacket), s.pulse.config.Key)
		if _, err := c.WriteToUDPAddrPort(b, netip.AddrPortFrom(to, uint16(s.path.Port))); err != nil {
			return fmt.Errorf("sending a heartbeat: %w", err)
		}
		s.pulse.sent.Add(1)
	}
	return nil
}
