package mesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	frameTimeout = 30 * time.Second // from the header of a frame to its end
	keptBuffer   = 1 << 20
)

var (
	errSilent   = errors.New("nothing was heard")
	errReplaced = errors.New("replaced by a newer connection")
	errBye      = errors.New("the node closed the connection")
	errStopped  = errors.New("we are shutting down")
	errRestart  = errors.New("the node was started again")
)

// link is an authenticated connection to a peer.
type link struct {
	peer     *peer
	conn     *patient
	in       *bufio.Reader
	session  session
	outbound bool
	idle     time.Duration

	wake chan struct{} // capacity 1: the queue has something, or we became its carrier
	done chan struct{} // closed by stop

	once  sync.Once
	cause error // written before done is closed
}

func newLink(p *peer, conn *patient, in *bufio.Reader, s session, outbound bool, idle time.Duration) *link {
	return &link{
		peer: p, conn: conn, in: in, session: s, outbound: outbound, idle: idle,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

func (l *link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// stop ends the connection; the first cause is the one that is told.
func (l *link) stop(cause error) {
	l.once.Do(func() {
		l.cause = cause
		close(l.done)
		_ = l.conn.Close() // nothing more is wanted from it
	})
}

// read hands on messages until the connection ends.
func (l *link) read(received func([]byte)) error {
	for {
		l.conn.within(l.idle)
		head, size, err := readHeader(l.in)
		if err != nil {
			return l.why(err)
		}
		l.conn.within(frameTimeout)
		payload, err := readBody(l.in, &l.session.open, head, size)
		if err != nil {
			return l.why(err)
		}
		switch head[0] {
		case kindData:
			if size > 0 {
				received(payload)
			}
		case kindAlive:
		case kindBye:
			return errBye
		default:
			return errFrame
		}
	}
}

// why turns the errors of a connection into words for administrators.
func (l *link) why(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		return fmt.Errorf("%w for %v", errSilent, l.idle)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was closed")
	}
	return err
}

// write sends what is queued, and a sign of life when there is nothing to send, until the connection ends. When ctx ends it writes
// what is still queued and says goodbye.
func (l *link) write(ctx context.Context) error {
	beat := time.NewTicker(l.idle / 5)
	defer beat.Stop()
	var buffer []byte
	quiet := true
	for {
		sent, err := l.empty(ctx, &buffer)
		if err != nil {
			return err
		}
		quiet = quiet && !sent
		select {
		case <-l.wake:
		case <-beat.C:
			if quiet {
				buffer = l.session.seal.append(buffer, kindAlive, nil)
				if err := l.flush(&buffer); err != nil {
					return err
				}
			}
			quiet = true
		case <-l.done:
			return l.cause
		case <-ctx.Done():
			return l.goodbye(buffer)
		}
	}
}

// empty writes what is queued, unless ctx ends before.
func (l *link) empty(ctx context.Context, buffer *[]byte) (sent bool, err error) {
	for ctx.Err() == nil {
		batch := l.peer.queue.take(l)
		if batch == nil {
			break
		}
		sent = true
		for _, payload := range batch {
			*buffer = l.session.seal.append(*buffer, kindData, payload)
		}
		if err := l.flush(buffer); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (l *link) flush(buffer *[]byte) error {
	_, err := l.conn.Write(*buffer)
	*buffer = (*buffer)[:0]
	if cap(*buffer) > keptBuffer {
		*buffer = nil
	}
	return err
}

func (l *link) goodbye(buffer []byte) error {
	if _, err := l.empty(context.Background(), &buffer); err != nil {
		return errStopped
	}
	buffer = l.session.seal.append(buffer, kindBye, nil)
	_ = l.flush(&buffer) // who does not hear it sees the end of the connection
	return errStopped
}

// serve runs the connection until it ends and returns why it did.
func (l *link) serve(ctx context.Context, received func([]byte)) error {
	hurry := context.AfterFunc(ctx, func() { l.conn.finishBy(time.Now().Add(farewell)) })
	defer hurry()
	var writer sync.WaitGroup
	writer.Go(func() { l.stop(l.why(l.write(ctx))) })
	l.stop(l.read(received))
	writer.Wait()
	return l.cause
}
