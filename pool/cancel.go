package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"

	"golang.org/x/sys/unix"
)

// SendCancel asks the server to cancel what the connection runs. It dials a connection of its own and returns when the server
// has closed it, so that a cancel cannot hit a later statement. It is encrypted where the connection is.
func (p *Pool) SendCancel(t *loop.Task, c *Conn, node cluster.Node, until time.Time) error {
	addr, err := resolve(t, node.Host, node.Port, until)
	if err != nil {
		return nodeError(node.ID, err)
	}
	wire, err := t.Dial(addr, until)
	if err != nil {
		return nodeError(node.ID, err)
	}
	defer wire.Close()
	_ = wire.SetDeadline(until)
	if c.Wire.Encrypted() {
		if err := p.encryptCancel(t, wire, node); err != nil {
			return nodeError(node.ID, err)
		}
	}
	if _, err := wire.Write(pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Secret})); err != nil {
		return nodeError(node.ID, err)
	}
	var b [64]byte
	for range 2 { // nothing should come but the end
		if _, err := wire.Read(b[:]); errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return nil
		} else if err != nil {
			return nodeError(node.ID, err)
		}
	}
	return nodeError(node.ID, errors.New("unexpected answer to a cancel request"))
}

// CancelNow is SendCancel for the end of the process, when loops no longer wait: it blocks, up to timeout.
func (p *Pool) CancelNow(c *Conn, node cluster.Node, timeout time.Duration) error {
	network, addr := "tcp", net.JoinHostPort(node.Host, strconv.Itoa(node.Port))
	if strings.HasPrefix(node.Host, "/") {
		network, addr = "unix", node.Host+"/.s.PGSQL."+strconv.Itoa(node.Port)
	}
	wire, err := net.DialTimeout(network, addr, timeout)
	if err != nil {
		return nodeError(node.ID, err)
	}
	defer wire.Close()
	_ = wire.SetDeadline(time.Now().Add(timeout))
	if c.Wire.Encrypted() {
		if wire, err = p.encryptNow(wire, node, timeout); err != nil {
			return nodeError(node.ID, err)
		}
	}
	if _, err := wire.Write(pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Secret})); err != nil {
		return nodeError(node.ID, err)
	}
	_, _ = wire.Read(make([]byte, 1)) // the server closes when it has passed the request on
	return nil
}

// encryptNow is encryptCancel without a loop.
func (p *Pool) encryptNow(wire net.Conn, node cluster.Node, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, w := range p.serverTLS(node).Ways() {
		if cfg, _ := w.TLS(); cfg == nil {
			continue
		}
		over, err := w.Upgrade(ctx, wire)
		if err != nil {
			return wire, err
		}
		return over, nil
	}
	return wire, nil
}
