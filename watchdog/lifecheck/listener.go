package lifecheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

const (
	listenerTime     = 3 * time.Second // for one answer
	listenerFailures = 3               // in a row mean that the node is sick
)

// runListener asks the own client port. An overloaded one answers late or closes the connection, which counts as an answer: somebody is
// at home. Several failures in a row mean a proxy that serves nobody, whose node should not lead. Until it has answered once it may be
// waiting for the watchdog, and nothing counts.
func (k *Checks) runListener(ctx context.Context) {
	s := &state{checks: k, self: Sick}
	failures, served := 0, false
	interval := func(c *Config) time.Duration { return min(c.Interval, k.listenerTime) }
	k.every(ctx, interval, func(ctx context.Context, c *Config) {
		if c.Paused() {
			return
		}
		err := k.listener(ctx, c.Listener, k.listenerTime)
		if ctx.Err() != nil {
			return
		}
		failures++
		if err == nil {
			failures, served = 0, true
		}
		if served && (failures == 0 || failures >= listenerFailures) {
			s.set(err != nil, fmt.Sprintf("own client port %s does not answer: %v", c.Listener, err), "own client port answers again")
		}
	})
}

// sslRequest asks whether the connection may be encrypted: the first thing a client says, and one that needs no place among the sessions.
var sslRequest = [...]byte{0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f}

// askListener connects and asks; nil if a process behind the port did anything about it.
func askListener(ctx context.Context, address string, bound time.Duration) error {
	ctx, stop := context.WithTimeout(ctx, bound)
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if closed(err) {
		return nil // before we noticed that we were let in
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()
	if err := conn.SetDeadline(end); err != nil {
		return err
	}
	if _, err = conn.Write(sslRequest[:]); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	if closed(err) {
		return nil
	}
	return err
}

// closed reports whether the peer ended the connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
