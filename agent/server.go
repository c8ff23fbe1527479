package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

const (
	handshakeTime = 5 * time.Second
	// writeTime is how long the other side may leave a frame unread.
	writeTime = 10 * time.Second
	// stayTime is how often each side says that it is there while an order is carried out, goneTime after how long the other one is lost.
	stayTime = 2 * time.Second
	goneTime = 15 * time.Second
	// idleTime is how long a connection may say nothing.
	idleTime = time.Minute
	// members is how many authenticated connections there may be.
	members = 128
)

// errLost ends an order whose client is gone.
var errLost = errors.New("who asked for it is gone")

// Actions are what can be done to a server on its host; *Local fits, and *Remote.
type Actions interface {
	Control(ctx context.Context) (cluster.Control, error)
	Start(ctx context.Context, term cluster.Term) error
	Stop(ctx context.Context, term cluster.Term, mode cluster.StopMode) (end cluster.LSN, err error)
	Promote(ctx context.Context, term cluster.Term) error
	Standby(ctx context.Context, term cluster.Term, src cluster.Source) error
	Rewind(ctx context.Context, term cluster.Term, src cluster.Source) error
	BaseBackup(ctx context.Context, term cluster.Term, src cluster.Source) error
	Renew(ctx context.Context, term cluster.Term) error
}

// Server is the agent: it lets authenticated clients act on the server of this host. Its fields are set before Serve.
//
// A connection:
//
//	accepted --handshake--> idle --order--> at it (both sides say each 2 s that they are there) --answer--> idle
//	    | 5 s, or no key      | 1 min           | client gone for 15 s, connection lost: the order is ended
//	    v                     v                 v
//	  closed                closed            closed
type Server struct {
	Host        Actions
	Guard       *Guard
	Credentials func() *Credentials
	Log         logging.Logger

	door    door
	limiter logging.Limiter // for strangers
	mu      sync.Mutex      // guards inside
	inside  int
}

// Serve serves the listeners until ctx ends or one of them fails; they are closed then, and nothing is at work any more but the database
// server.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, l := range listeners {
		all.Go(func() { cancel(s.accept(ctx, l, &all)) })
	}
	all.Go(func() {
		<-ctx.Done()
		for _, l := range listeners {
			_ = l.Close() // nothing was written to it
		}
	})
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (s *Server) accept(ctx context.Context, l net.Listener, all *sync.WaitGroup) error {
	for {
		c, err := l.Accept()
		var passing interface{ Temporary() bool }
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &passing) && passing.Temporary(): // no file descriptors left
			if wait(ctx, 100*time.Millisecond) != nil {
				return context.Cause(ctx)
			}
			continue
		default:
			return err
		}
		s.door.enter(c)
		all.Go(func() { s.client(ctx, c) })
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// client serves one connection.
func (s *Server) client(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	began := s.Guard.now()
	own := s.Credentials()
	ch, err := s.greet(ctx, c, own)
	s.door.left(c)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
			s.limiter.Log(s.Log, logging.Event{
				Severity: logging.Warning, Message: fmt.Sprintf("connection from %s was not let in", c.RemoteAddr()), Detail: err.Error(),
			})
		}
		return
	}
	if !s.enter() {
		return
	}
	defer s.leave()
	cn := &connection{server: s, channel: ch, own: own, heard: began}
	if err := cn.serve(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
		s.limiter.Log(s.Log, logging.Event{
			Severity: logging.Log, Message: fmt.Sprintf("connection from %s ended", c.RemoteAddr()), Detail: err.Error(),
		})
	}
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside >= members {
		return false
	}
	s.inside++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside--
}

// greet is the beginning of a connection, in bounded time.
func (s *Server) greet(ctx context.Context, c net.Conn, own *Credentials) (*channel, error) {
	if err := setDeadline(ctx, c, handshakeTime); err != nil {
		return nil, err
	}
	if own.tls != nil {
		over := tls.Server(c, own.tls)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = over
	}
	return accept(c, own.key)
}

// setDeadline bounds what is done with a connection, unless it is over: whoever ends ctx ends it by a deadline in the past.
func setDeadline(ctx context.Context, c net.Conn, d time.Duration) error {
	err := c.SetDeadline(time.Now().Add(d))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// connection is an authenticated one. Its own goroutine writes, another one reads.
type connection struct {
	server  *Server
	channel *channel
	own     *Credentials // by which it was let in
	// heard is when the client was certainly there: when it was sent what it has answered since. What it says may have lain in a buffer.
	heard time.Duration
}

// frames is what is read: a frame, or why there are no more.
type frames struct {
	order order
	err   error
}

func (c *connection) serve(ctx context.Context) error {
	inbox := make(chan frames)
	quit := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() { c.read(ctx, inbox, quit) })
	defer reader.Wait()
	defer c.channel.conn.Close()
	defer close(quit)
	for {
		f := <-inbox
		if errors.Is(f.err, errOrder) { // whoever gave it knows the key, and more than this release
			return errors.Join(f.err, c.say(ctx, refused(f.err)))
		}
		if f.err != nil {
			return f.err
		}
		if f.order.Verb == verbStay {
			continue
		}
		if c.server.Credentials() != c.own { // others since: whoever has the ones in force comes back
			return errors.Join(errRekeyed, c.say(ctx, refused(errRekeyed)))
		}
		c.server.Guard.settle(ctx)
		a, err := c.carryOut(ctx, f.order, inbox)
		if err != nil {
			return err
		}
		if err := c.say(ctx, a); err != nil {
			return err
		}
		c.heard = c.server.Guard.now()
	}
}

// read reads frames until one cannot be read.
func (c *connection) read(ctx context.Context, inbox chan<- frames, quit <-chan struct{}) {
	for {
		f := c.readOne(ctx)
		select {
		case inbox <- f:
		case <-quit:
			return
		}
		if f.err != nil {
			return
		}
	}
}

func (c *connection) readOne(ctx context.Context) frames {
	err := c.channel.conn.SetReadDeadline(time.Now().Add(idleTime))
	if ctx.Err() != nil {
		return frames{err: context.Cause(ctx)}
	}
	if err != nil {
		return frames{err: err}
	}
	text, err := c.channel.in.read(c.channel.conn)
	if err != nil {
		return frames{err: err}
	}
	o, err := parseOrder(text)
	return frames{o, err}
}

func (c *connection) say(ctx context.Context, a answer) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	frame, err := c.channel.out.seal(text)
	if err != nil {
		return err
	}
	if err := c.channel.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err = c.channel.conn.Write(frame)
	return err
}

// carryOut does what is ordered, as long as the client is there. The error is that of the connection.
func (c *connection) carryOut(ctx context.Context, o order, inbox <-chan frames) (answer, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	done := make(chan answer, 1)
	var worker sync.WaitGroup
	worker.Go(func() { done <- c.server.do(ctx, o, c.heard) })
	defer worker.Wait()
	beat := time.NewTicker(stayTime)
	defer beat.Stop()
	last := time.Now()
	for {
		var err error
		select {
		case a := <-done:
			return a, nil
		case <-beat.C:
			if err = c.say(ctx, answer{}); err == nil && time.Since(last) > goneTime {
				err = errLost
			}
		case f := <-inbox:
			last, err = time.Now(), f.err
			if err == nil && f.order.Verb != verbStay {
				err = errOrder // one at a time
			}
		}
		if err != nil {
			end(fmt.Errorf("%w: %w", errLost, err))
			return answer{}, err
		}
	}
}

// do does what is ordered. Who gives an order that is obeyed was in contact.
func (s *Server) do(ctx context.Context, o order, heard time.Duration) answer {
	var a answer
	var err error
	if o.Verb != verbControl {
		if err = s.Host.Renew(ctx, o.Term); err == nil {
			s.Guard.contacted(heard)
		}
	}
	if err == nil {
		a, err = s.perform(ctx, o)
	}
	if err != nil {
		r := refused(err)
		a.Error, a.Kind = r.Error, r.Kind
	}
	a.Done = true
	return a
}

// refused is the answer to an order that was not carried out.
func refused(err error) answer {
	a := answer{Done: true, Error: err.Error(), Kind: kindOf(err)}
	if len(a.Error) > maxFrame/8 {
		a.Error = a.Error[:maxFrame/8]
	}
	return a
}

func (s *Server) perform(ctx context.Context, o order) (a answer, err error) {
	var src cluster.Source
	if o.Source != nil {
		src = *o.Source
	}
	l := s.Host
	switch o.Verb {
	case verbControl:
		var c cluster.Control
		c, err = l.Control(ctx)
		a.Control = &c
	case verbStart:
		err = l.Start(ctx, o.Term)
	case verbStop:
		if o.Mode == cluster.StopNow { // what was begun is done: a primary that is half killed helps nobody
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), fenceLimit)
			defer cancel()
		}
		a.End, err = l.Stop(ctx, o.Term, o.Mode)
	case verbPromote:
		err = l.Promote(ctx, o.Term)
	case verbStandby:
		err = l.Standby(ctx, o.Term, src)
	case verbRewind:
		err = l.Rewind(ctx, o.Term, src)
	case verbBaseBackup:
		err = l.BaseBackup(ctx, o.Term, src)
	case verbRenew, verbStay: // contact is all
	}
	return a, err
}
