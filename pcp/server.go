package pcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"gopgpool/conf"
	"gopgpool/logging"
)

// Bounds of the server.
const (
	// maxStrangers is how many connections may be unauthenticated at a time; the oldest gives way to a new one.
	maxStrangers = 64
	// loginTime bounds how long a connection may be unauthenticated where authentication_timeout is 0.
	loginTime = time.Minute
	// requestTime bounds how long the rest of a request may take once its first byte is there.
	requestTime = 30 * time.Second
	// replyTime bounds how long a client may leave a part of its reply unread.
	replyTime = 30 * time.Second
	// acceptPause is how long accepting rests when it fails, for want of descriptors for example.
	acceptPause = 100 * time.Millisecond
)

// Settings are the parameters this package obeys.
type Settings struct {
	AuthenticationTimeout time.Duration // 0 = a minute
	LogProcesses          bool          // log_pcp_processes
	NodeInfo              conf.NodeInfoLayout
}

// Parts are what a Server is built from. All are required.
type Parts struct {
	Control      Control
	Settings     func() Settings // in force now
	PasswordFile string          // pcp.conf
	Listeners    []net.Listener  // belong to the server from now on
	Log          logging.Logger
}

// Server answers the pcp_* programs.
type Server struct {
	parts Parts

	work sync.WaitGroup // the goroutines of listeners and connections

	mu        sync.Mutex
	number    int           // guarded by mu: of connections so far
	strangers []*connection // guarded by mu: connections without authentication, oldest first
}

// NewServer makes a server; Run has it serve.
func NewServer(p Parts) *Server { return &Server{parts: p} }

// Run serves until ctx ends. Then it closes listeners and connections, has running commands end, and returns when the last of its
// goroutines has.
func (s *Server) Run(ctx context.Context) error {
	for _, l := range s.parts.Listeners {
		s.work.Go(func() { s.accept(ctx, l) })
	}
	<-ctx.Done()
	s.work.Wait()
	return nil
}

// accept serves the connections of a listener until ctx ends.
func (s *Server) accept(ctx context.Context, l net.Listener) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for ctx.Err() == nil {
		conn, err := l.Accept()
		switch {
		case err == nil:
			c := s.admit(conn)
			s.work.Go(func() { c.serve(ctx) })
		case errors.Is(err, net.ErrClosed):
			return
		default:
			s.parts.Log.Log(logging.Event{Severity: logging.Warning, Message: "could not accept a PCP connection", Detail: err.Error()})
			pause(ctx, acceptPause)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// admit numbers a connection and puts it among the strangers, from which the oldest has to go when there are too many.
func (s *Server) admit(conn net.Conn) *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	c := newConnection(s, conn, s.number)
	s.strangers = append(s.strangers, c)
	if len(s.strangers) > maxStrangers {
		s.strangers[0].evict()
		s.strangers = slices.Delete(s.strangers, 0, 1)
	}
	return c
}

// known takes c from the strangers: it is authorized or gone.
func (s *Server) known(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.strangers, c); i >= 0 {
		s.strangers = slices.Delete(s.strangers, i, i+1)
	}
}

// loginTime is how long a connection may be unauthenticated.
func (s *Server) loginTime() time.Duration {
	if d := s.parts.Settings().AuthenticationTimeout; d > 0 {
		return d
	}
	return loginTime
}

// fail is an error for the client behind which the connection goes on.
func fail(message, detail string) *Error { return &Error{Message: message, Detail: detail} }

// fatal is an error for the client behind which the connection ends.
func fatal(message, detail string) *Error {
	return &Error{Fatal: true, Message: message, Detail: detail}
}

// asError is err as the client is told it.
func asError(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	var length *LengthError
	if errors.As(err, &length) {
		return fatal("invalid PCP packet", fmt.Sprintf("incorrect packet length (%d)", length.Length))
	}
	return fail(err.Error(), "")
}
