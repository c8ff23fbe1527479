package listen

import (
	"errors"
	"fmt"
	"io"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// maxUnderWay bounds the statements without an answer: their answers fit into any socket's buffer.
const maxUnderWay = 256

// maxPerTurn bounds the bytes read before others have their turn.
const maxPerTurn = 256 << 10

var (
	errMoved  = errors.New("another node takes writes now")
	errSilent = errors.New("the server does not answer")
)

// conversation is one connection while it lasts. It belongs to the listener's task.
type conversation struct {
	*listener
	c        *pool.Conn
	in       splitter
	out      []byte
	underWay []*command
	refusal  error     // of the first of them
	answered time.Time // when the server last said something, or had nothing to answer
	idleAt   time.Time // when the last one left; zero while somebody listens
	caughtUp bool      // every channel is confirmed since the beginning
}

// converse keeps a connection until it is lost (the error), or nobody has listened for the grace and the listener has ended (nil).
func (l *listener) converse(t *loop.Task, c *pool.Conn) error {
	v := &conversation{listener: l, c: c, answered: t.Now()}
	l.mu.Lock()
	l.reg.connected, l.state, l.conn, l.lastErr = true, listening, c, nil
	l.mu.Unlock()
	defer v.close()
	for {
		if err := v.turn(t); err != nil {
			return err
		}
		if v.spent(t.Now()) && l.end() {
			return nil
		}
		switch t.Wait(v.until(), loop.Interest{Conn: c.Wire, Read: true, Write: len(v.out) > 0}) {
		case loop.Stopped:
			return loop.ErrStopped
		case loop.Timeout, loop.Woken, loop.Ready:
		}
	}
}

// spent reports that nobody has listened for the grace.
func (v *conversation) spent(now time.Time) bool {
	v.mu.Lock()
	hurry := v.hurry
	v.hurry = false
	v.mu.Unlock()
	return !v.idleAt.IsZero() && (hurry || !now.Before(v.idleAt.Add(v.hub.cfg.Grace)))
}

// turn does what there is to do.
func (v *conversation) turn(t *loop.Task) error {
	if moved(v.c, v.hub.cfg.Store.Current()) {
		return errMoved
	}
	for more := true; more; {
		v.ask(t.Now())
		if err := v.write(); err != nil {
			return err
		}
		var err error
		if more, err = v.read(t); err != nil {
			return err
		}
	}
	if len(v.underWay) > 0 && !t.Now().Before(v.answered.Add(v.hub.cfg.Patience)) {
		return errSilent
	}
	v.look(t.Now())
	return nil
}

// moved reports whether a connection leads to another node than the one that takes writes, or to what that was earlier.
func moved(c *pool.Conn, view *cluster.View) bool {
	w := view.Writer()
	return w == cluster.NoNode || w != c.Key.Node || view.Nodes[w].Epoch != c.Epoch
}

// until is when something is due though nothing happens.
func (v *conversation) until() time.Time {
	switch {
	case len(v.underWay) > 0:
		return v.answered.Add(v.hub.cfg.Patience)
	case !v.idleAt.IsZero():
		return v.idleAt.Add(v.hub.cfg.Grace)
	}
	return time.Time{}
}

// ask queues what the server has to be told.
func (v *conversation) ask(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.underWay) == 0 {
		v.answered = now
	}
	for len(v.underWay) < maxUnderWay {
		c := v.reg.next()
		if c == nil {
			return
		}
		v.underWay = append(v.underWay, c)
		v.out = pgwire.AppendQuery(v.out, c.sql())
	}
}

func (v *conversation) write() error {
	if len(v.out) == 0 {
		return nil
	}
	n, err := v.c.Wire.TryWrite(v.out)
	if v.out = v.out[n:]; len(v.out) == 0 {
		v.out = nil
	}
	if err != nil && !v.c.Wire.Readable() { // what the server has still said comes first
		return err
	}
	return nil
}

// read deals with what the server has sent. more tells that answers have made room for further statements.
func (v *conversation) read(t *loop.Task) (more bool, err error) {
	for moved := 0; v.c.Wire.Readable(); {
		if moved >= maxPerTurn {
			t.Yield() // the rest is still readable
			return false, nil
		}
		n, err := v.c.Wire.TryRead(v.in.room())
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the server has closed it")
			}
			return false, err
		}
		if n == 0 {
			break
		}
		v.answered = t.Now()
		v.in.added(n)
		moved += n
		before := len(v.underWay)
		if err := v.take(); err != nil {
			return false, err
		}
		more = more || len(v.underWay) < before
	}
	return more, nil
}

// take deals with the messages that are there.
func (v *conversation) take() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		frame, err := v.in.next()
		if err != nil || frame == nil {
			return err
		}
		if err := v.messageLocked(frame); err != nil {
			return err
		}
	}
}

func (v *conversation) messageLocked(frame []byte) error {
	body := frame[pgwire.HeaderSize:]
	switch frame[0] {
	case pgwire.NotificationResponse:
		n, ok := ReadNotification(body)
		if !ok {
			return errors.New("malformed NotificationResponse")
		}
		v.counts.Received++
		v.reg.deliver(n, frame, v.hub.cfg.PIDOf)
		return nil
	case pgwire.ErrorResponse:
		f := pgwire.ReadFields(body)
		if f.Severity != "ERROR" || len(v.underWay) == 0 {
			return errors.New(f.Message)
		}
		v.refusal = &Error{Code: f.Code, Message: f.Message, Detail: f.Detail, Hint: f.Hint}
		return nil
	case pgwire.ReadyForQuery:
		return v.readyLocked()
	case pgwire.CommandComplete, pgwire.EmptyQueryResponse, pgwire.NoticeResponse, pgwire.ParameterStatus:
		return nil
	}
	return fmt.Errorf("unexpected message %q", frame[0])
}

// readyLocked is the end of the answer to the first statement under way.
func (v *conversation) readyLocked() error {
	if len(v.underWay) == 0 {
		return errors.New("an answer to nothing")
	}
	c := v.underWay[0]
	v.underWay[0] = nil
	if v.underWay = v.underWay[1:]; len(v.underWay) == 0 {
		v.underWay = nil
	}
	refusal := v.refusal
	v.refusal = nil
	if !v.reg.answered(c, refusal) {
		return refusal
	}
	return nil
}

// look notes whether anybody is left, and that all is as it was before a loss.
func (v *conversation) look(now time.Time) {
	v.mu.Lock()
	idle, channels := v.reg.idle(), len(v.reg.channels)
	v.state = listening
	if idle {
		v.state = lingering
	}
	v.mu.Unlock()
	switch {
	case !idle:
		v.idleAt = time.Time{}
	case v.idleAt.IsZero():
		v.idleAt = now
	}
	if v.caughtUp || len(v.underWay) > 0 {
		return
	}
	v.caughtUp = true
	if v.broken {
		v.broken = false
		v.log(logging.Log, fmt.Sprintf("listening for notifications in database %q again, to %d channels, on DB node %d",
			v.key.Database, channels, v.c.Key.Node), nil)
	}
}

// close ends the connection.
func (v *conversation) close() {
	if len(v.out) == 0 {
		_, _ = v.c.Wire.TryWrite(pgwire.AppendSimple(nil, pgwire.Terminate))
	}
	v.hub.cfg.Discard(v.c)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reg.lost(v.underWay)
	v.conn = nil
}
