package fakepg

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gopgpool/pgwire"
)

// awaitTimeout bounds every wait of a test: what has not happened by then hangs.
const awaitTimeout = 30 * time.Second

// Server is one fake server on a loopback port. Its methods may be called from any goroutine.
type Server struct {
	tb       testing.TB
	listener *net.TCPListener
	running  sync.WaitGroup
	cut      atomic.Int64 // see Cut

	mu      sync.Mutex
	changed *sync.Cond
	world   World    // guarded by mu
	faults  []*Fault // guarded by mu
	all     []*Conn  // guarded by mu: every connection there ever was
	cancels []Cancel // guarded by mu
	closed  bool     // guarded by mu
}

// Cancel is a CancelRequest that arrived. Conn is the connection it names, nil if it names none.
type Cancel struct {
	PID  uint32
	Key  []byte
	Conn *Conn
}

// Start begins to serve on a free loopback port. The test closes it and fails if a goroutine of it does not end.
func Start(tb testing.TB, world World) *Server {
	tb.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{tb: tb, listener: l, world: world}
	s.changed = sync.NewCond(&s.mu)
	s.running.Go(s.accept)
	tb.Cleanup(s.Close)
	return s
}

// Port is where it listens, on 127.0.0.1.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Close ends all connections and waits for their goroutines. A second call does nothing.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	_ = s.listener.Close()
	for _, c := range s.all {
		c.cut()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Set replaces the answer to a statement.
func (s *Server) Set(sql string, a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers := World{sql: a}
	for k, v := range s.world {
		if k != sql {
			answers[k] = v
		}
	}
	s.world = answers
}

// Misbehave adds a fault; the first one that fits strikes.
func (s *Server) Misbehave(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Behave drops all faults.
func (s *Server) Behave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Cut has all that is sent from now on written in pieces of n bytes; 0 ends that.
func (s *Server) Cut(n int) { s.cut.Store(int64(n)) }

// Conns are all connections of sessions there ever were, in order; those of cancel requests are not among them.
func (s *Server) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessionsLocked()
}

func (s *Server) sessionsLocked() []*Conn {
	var out []*Conn
	for _, c := range s.all {
		if c.startup != nil {
			out = append(out, c)
		}
	}
	return out
}

// Last is the newest session's connection.
func (s *Server) Last() *Conn {
	s.tb.Helper()
	all := s.Conns()
	if len(all) == 0 {
		s.tb.Fatal("nobody has connected to the fake server")
	}
	return all[len(all)-1]
}

// Open counts the connections whose socket is open on this side and has not ended on the other.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.all {
		if !c.over {
			n++
		}
	}
	return n
}

// Cancels are the cancel requests that arrived.
func (s *Server) Cancels() []Cancel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.cancels)
}

// Await waits until cond holds, looking at it whenever something happens to the server. cond must take no lock of the
// server's but through the server's and its connections' methods.
func (s *Server) Await(what string, cond func() bool) {
	s.tb.Helper()
	deadline := time.Now().Add(awaitTimeout)
	wake := time.AfterFunc(awaitTimeout, func() { s.changed.Broadcast() })
	defer wake.Stop()
	for {
		s.mu.Lock()
		seen := s.versionLocked()
		s.mu.Unlock()
		if cond() {
			return
		}
		s.mu.Lock()
		for s.versionLocked() == seen && time.Now().Before(deadline) {
			s.changed.Wait()
		}
		s.mu.Unlock()
		if !time.Now().Before(deadline) {
			s.tb.Fatalf("%s: not within %v\n%s", what, awaitTimeout, s.dump())
		}
	}
}

// versionLocked rises with everything Await may look at.
func (s *Server) versionLocked() int {
	n := len(s.all) + len(s.cancels)
	for _, c := range s.all {
		n += len(c.received) + c.marks
	}
	return n
}

func (s *Server) dump() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := ""
	for i, c := range s.all {
		out += fmt.Sprintf("connection %d: over=%v received=%q\n", i, c.over, c.received)
	}
	return out
}

func (s *Server) accept() {
	for {
		wire, err := s.listener.AcceptTCP()
		if err != nil {
			return
		}
		c := &Conn{server: s, wire: wire, gone: make(chan struct{})}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = wire.Close()
			return
		}
		s.all = append(s.all, c)
		c.pid = uint32(firstPID + len(s.all))
		s.changed.Broadcast()
		s.mu.Unlock()
		s.running.Go(c.serve)
	}
}

// firstPID keeps pids apart from small numbers.
const firstPID = 40000

func (s *Server) cancelled(c pgwire.Cancel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := Cancel{PID: c.PID, Key: c.Key}
	for _, x := range s.all {
		if x.pid == c.PID && string(x.secret()) == string(c.Key) {
			found.Conn = x
			x.interrupt()
		}
	}
	s.cancels = append(s.cancels, found)
	s.changed.Broadcast()
}

// fault finds the fault that strikes now and counts it.
func (s *Server) fault(c *Conn, at Moment, sql string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.At == at && (f.SQL == "" || f.SQL == sql) && (f.User == "" || c.startup != nil && c.startup.User == f.User) &&
			(f.Times == 0 || f.struck < f.Times) {
			f.struck++
			return f
		}
	}
	return nil
}
