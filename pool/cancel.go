package pool

import (
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
// has closed it, so that a cancel cannot hit a later statement.
func SendCancel(t *loop.Task, c *Conn, node cluster.Node, until time.Time) error {
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
func CancelNow(c *Conn, node cluster.Node, timeout time.Duration) error {
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
	if _, err := wire.Write(pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Secret})); err != nil {
		return nodeError(node.ID, err)
	}
	_, _ = wire.Read(make([]byte, 1)) // the server closes when it has passed the request on
	return nil
}
