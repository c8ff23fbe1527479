package fakepg

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"gopgpool/pgwire"
)

// Message is one message as received.
type Message struct {
	Type byte
	Body string
}

// Conn is one connection to the fake server.
type Conn struct {
	server *Server
	wire   *net.TCPConn
	pid    uint32
	gone   chan struct{} // closed with the socket
	once   sync.Once

	startup  *pgwire.Startup // guarded by server.mu
	received []Message       // guarded by server.mu
	over     bool            // guarded by server.mu
	marks    int             // guarded by server.mu: changes of other kinds
	sent     int64           // guarded by server.mu: bytes of floods
	hit      bool            // guarded by server.mu: a cancel request named it

	// of its own goroutine
	in       *bufio.Reader
	writing  sync.Mutex // of the socket: Inject comes from tests
	out      []byte
	status   byte
	failed   bool // of the statement that runs
	skipping bool // to Sync
	reported []pgwire.Param
	stmts    map[string]string
	portals  map[string]*running
}

// running is a portal: a statement and how many of its rows have been sent.
type running struct {
	sql string
	at  int
}

// Startup is what the client's first packet said; nil before it came.
func (c *Conn) Startup() *pgwire.Startup {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.startup
}

// PID is the process number it tells its client.
func (c *Conn) PID() uint32 { return c.pid }

// Received are the messages that came after the startup packet.
func (c *Conn) Received() []Message {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return slices.Clone(c.received)
}

// Statements are the texts of all simple queries and Parse messages that came, in order.
func (c *Conn) Statements() []string {
	var out []string
	for _, m := range c.Received() {
		switch m.Type {
		case pgwire.Query:
			out = append(out, m.Body[:max(len(m.Body)-1, 0)])
		case pgwire.Parse:
			_, rest, _ := pgwire.CString([]byte(m.Body))
			text, _, _ := pgwire.CString(rest)
			out = append(out, string(text))
		}
	}
	return out
}

// Has reports whether a statement came.
func (c *Conn) Has(sql string) bool { return slices.Contains(c.Statements(), sql) }

// Over reports whether the connection has ended, by either side.
func (c *Conn) Over() bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.over
}

// Flooded is how many bytes of a Flood the socket has taken.
func (c *Conn) Flooded() int64 {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.sent
}

// Gone is closed with the connection.
func (c *Conn) Gone() <-chan struct{} { return c.gone }

// Inject sends bytes out of the blue.
func (c *Conn) Inject(b []byte) { c.write(b) }

// Cut closes the connection from a test.
func (c *Conn) Cut() { c.cut() }

// CutHard closes it so that the peer sees a reset.
func (c *Conn) CutHard() {
	_ = c.wire.SetLinger(0)
	c.cut()
}

// Send writes what is gathered, then b.
func (c *Conn) Send(b []byte) {
	c.flush()
	c.write(b)
}

func (c *Conn) write(b []byte) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.wire.SetWriteDeadline(time.Now().Add(aLongTime))
	if n := int(c.server.cut.Load()); n > 0 {
		for ; len(b) > n; b = b[n:] {
			_, _ = c.wire.Write(b[:n])
		}
	}
	_, _ = c.wire.Write(b)
}

func (c *Conn) flush() {
	if len(c.out) == 0 {
		return
	}
	b := c.out
	c.out = c.out[:0]
	c.write(b)
}

func (c *Conn) cut() {
	c.once.Do(func() {
		close(c.gone)
		_ = c.wire.Close()
	})
}

func (c *Conn) changed(f func()) {
	c.server.mu.Lock()
	f()
	c.marks++
	c.server.changed.Broadcast()
	c.server.mu.Unlock()
}

func (c *Conn) count(n int) { c.changed(func() { c.sent += int64(n) }) }

// secret is the connection's cancel key.
func (c *Conn) secret() []byte { return binary.BigEndian.AppendUint32(nil, c.pid*7919) }

// interrupt is called with server.mu held.
func (c *Conn) interrupt() { c.hit = true }

func (c *Conn) awaitInterrupt() bool {
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-c.gone:
			c.server.mu.Lock()
			c.server.changed.Broadcast()
			c.server.mu.Unlock()
		case <-stop:
		}
	})
	defer watch.Wait()
	defer close(stop)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	for !c.hit && !c.server.closed {
		select {
		case <-c.gone:
			return false
		default:
		}
		c.server.changed.Wait()
	}
	hit := c.hit
	c.hit = false
	return hit
}

func (c *Conn) serve() {
	defer c.changed(func() { c.over = true })
	defer c.cut()
	c.in = bufio.NewReader(c.wire)
	if !c.at(Accepted, "") || !c.login() {
		return
	}
	for {
		m, err := c.read()
		if err != nil || !c.message(m) {
			return
		}
	}
}

// at lets a fault strike. It reports whether to go on.
func (c *Conn) at(m Moment, sql string) bool {
	f := c.server.fault(c, m, sql)
	return f == nil || f.Do(c)
}

func (c *Conn) login() bool {
	for {
		packet, err := c.firstPacket()
		if err != nil {
			return false
		}
		st, err := pgwire.ParseStartup(packet)
		if err != nil {
			return false
		}
		if st.Cancel != nil {
			c.server.cancelled(*st.Cancel)
			return false
		}
		if st.SSLRequest || st.GSSRequest {
			c.write([]byte{'N'})
			continue
		}
		c.changed(func() { c.startup = st })
		return c.admit(st)
	}
}

func (c *Conn) firstPacket() ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.in, head); err != nil {
		return nil, err
	}
	size, _, err := pgwire.StartupSize(head)
	if err != nil {
		return nil, err
	}
	packet := append(head, make([]byte, size-4)...)
	_, err = io.ReadFull(c.in, packet[4:])
	return packet, err
}

func (c *Conn) admit(st *pgwire.Startup) bool {
	if !c.at(Started, "") {
		return false
	}
	c.out = pgwire.AppendAuthentication(c.out, 0, nil)
	if !c.at(Admitted, "") {
		return false
	}
	c.reported = initialSettings(st)
	for _, p := range c.reported {
		c.out = pgwire.AppendParameterStatus(c.out, p.Name, p.Value)
	}
	c.out = pgwire.AppendBackendKeyData(c.out, c.pid, c.secret())
	c.status = 'I'
	c.out = pgwire.AppendReady(c.out, c.status)
	c.flush()
	return c.at(LoggedIn, "")
}

// maxMessage bounds what the fake server takes, maxShort the messages that have no reason to be long.
const (
	maxMessage = 64 << 20
	maxShort   = 10000
)

func limit(typ byte) int {
	switch typ {
	case pgwire.Describe, pgwire.Execute, pgwire.Close, pgwire.Sync, pgwire.Flush, pgwire.Terminate, pgwire.CopyDone:
		return maxShort
	}
	return maxMessage
}

func (c *Conn) read() (Message, error) {
	var head [pgwire.HeaderSize]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return Message{}, err
	}
	typ, size, _, err := pgwire.Header(head[:])
	if err != nil || size > limit(typ) {
		return Message{}, io.ErrUnexpectedEOF
	}
	body := make([]byte, size-pgwire.HeaderSize)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return Message{}, err
	}
	m := Message{typ, string(body)}
	c.changed(func() { c.received = append(c.received, m) })
	return m, nil
}

// ReadMessage reads the next message, for faults that talk.
func (c *Conn) ReadMessage() (Message, error) { return c.read() }
