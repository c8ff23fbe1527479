package listen

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
)

// fakeNode is a server as far as listening goes: it takes LISTEN, UNLISTEN and empty statements, and notifies those who listen.
type fakeNode struct {
	tb testing.TB
	id int

	mu      sync.Mutex
	conns   map[*fakeConn]bool // guarded by mu, as all that follows
	logins  int
	asked   int // LISTENs
	down    bool
	refuse  *pgwire.Fields // of every LISTEN
	noLogin map[string]pgwire.Fields
	held    bool // statements stay without an answer
	release *sync.Cond
}

type fakeConn struct {
	net.Conn
	listens map[string]bool // guarded by fakeNode.mu
}

func newFakeNode(tb testing.TB, id int) *fakeNode {
	n := &fakeNode{tb: tb, id: id, conns: map[*fakeConn]bool{}}
	n.release = sync.NewCond(&n.mu)
	return n
}

// accept is a new connection.
func (n *fakeNode) accept(far *loop.Peer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down {
		return errNoServer
	}
	c := &fakeConn{Conn: far, listens: map[string]bool{}}
	n.conns[c] = true
	n.logins++
	go n.serve(c) // it ends with the connection; the bubble waits for it
	return nil
}

func (n *fakeNode) serve(c *fakeConn) {
	defer n.gone(c)
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return
	}
	size, _, err := pgwire.StartupSize(head)
	if err != nil {
		n.tb.Error(err)
		return
	}
	packet := append(head, make([]byte, size-4)...)
	if _, err := io.ReadFull(c, packet[4:]); err != nil {
		return
	}
	st, err := pgwire.ParseStartup(packet)
	if err != nil {
		n.tb.Error(err)
		return
	}
	n.mu.Lock()
	f, refused := n.noLogin[st.User]
	n.mu.Unlock()
	if refused {
		_, _ = c.Write(pgwire.AppendError(nil, f))
		return
	}
	hello := pgwire.AppendBackendKeyData(pgwire.AppendAuthentication(nil, 0, nil), 77, []byte("1234"))
	if _, err := c.Write(pgwire.AppendReady(hello, 'I')); err != nil {
		return
	}
	n.converse(c)
}

func (n *fakeNode) gone(c *fakeConn) {
	_ = c.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func (n *fakeNode) converse(c *fakeConn) {
	var in splitter
	for {
		k, err := c.Read(in.room())
		if err != nil {
			return
		}
		in.added(k)
		for frame, _ := in.next(); frame != nil; frame, _ = in.next() {
			if frame[0] == pgwire.Terminate {
				return
			}
			if frame[0] != pgwire.Query {
				n.tb.Errorf("the server got %q", frame)
			}
			if _, err := c.Write(n.answer(c, string(frame[pgwire.HeaderSize:len(frame)-1]))); err != nil {
				return
			}
		}
	}
}

func (n *fakeNode) answer(c *fakeConn, sql string) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.held {
		n.release.Wait()
	}
	verb, name, _ := strings.Cut(sql, " ")
	name = strings.ReplaceAll(strings.Trim(name, `"`), `""`, `"`)
	switch verb {
	case "LISTEN":
		if n.refuse != nil {
			return pgwire.AppendReady(pgwire.AppendError(nil, *n.refuse), 'I')
		}
		if c.listens[name] {
			n.tb.Errorf("LISTEN %q once more on the same connection", name)
		}
		n.asked++
		c.listens[name] = true
	case "UNLISTEN":
		if !c.listens[name] {
			n.tb.Errorf("UNLISTEN %q, which it does not listen to", name)
		}
		delete(c.listens, name)
	case "":
		return pgwire.AppendReady(pgwire.AppendSimple(nil, pgwire.EmptyQueryResponse), 'I')
	default:
		n.tb.Errorf("the server got %q", sql)
	}
	return pgwire.AppendReady(pgwire.AppendTag(nil, verb), 'I')
}

// counts are how often somebody logged in and said LISTEN.
func (n *fakeNode) counts() (logins, asked int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.logins, n.asked
}

// set changes how the node behaves.
func (n *fakeNode) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	n.release.Broadcast()
}

// cut ends all connections, as pg_terminate_backend does.
func (n *fakeNode) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_, _ = c.Write(pgwire.AppendError(nil, pgwire.Fields{
			Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command",
		}))
		_ = c.Close()
	}
}

// notify is a NOTIFY that commits.
func (n *fakeNode) notify(pid uint32, channel, payload string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.listens[channel] {
			_, _ = c.Write(notification(pid, channel, payload))
		}
	}
}

// listening is what the connections listen to; more than one is an error of whoever asks at rest.
func (n *fakeNode) listening() (conns int, channels []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]bool{}
	for c := range n.conns {
		maps.Copy(all, c.listens)
	}
	return len(n.conns), slices.Sorted(maps.Keys(all))
}

// fakeNodes are a cluster on virtual loops.
func fakeNodes(tb testing.TB, cfg Config, loops, nodes int) (w *world, servers []*fakeNode, stop func()) {
	for i := range nodes {
		servers = append(servers, newFakeNode(tb, i))
	}
	var ls []*loop.Loop
	for i := range loops {
		l := loop.NewVirtual(i, nil)
		l.OnDial(func(to net.Addr, far *loop.Peer) error { return servers[to.(addr)].accept(far) })
		ls = append(ls, l)
	}
	w, stop = newWorld(tb, cfg, ls, nodes)
	w.dial = func(t *loop.Task, node cluster.NodeID) (*loop.Conn, error) {
		c, err := t.Dial(addr(node), t.Now().Add(dialTime))
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", node, err)
		}
		return c, nil
	}
	return w, servers, stop
}
