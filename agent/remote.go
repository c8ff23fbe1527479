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
)

// Remote has the agent of another host act on its server. Its methods are those of Local and may be called by several goroutines; each
// lasts as long as its context lets it. One that ends early ends what the agent does in its name.
type Remote struct {
	address     string
	credentials Credentials

	mu    sync.Mutex // guards spare
	spare *channel   // a connection for the next question, nil if there is none
	used  time.Time  // when it was used last
}

// NewRemote is the agent at host:port. It connects when it is asked for something.
func NewRemote(address string, c Credentials) *Remote {
	return &Remote{address: address, credentials: c}
}

// Close ends connections that are kept.
func (r *Remote) Close() error {
	if ch := r.takeSpare(); ch != nil {
		return ch.conn.Close()
	}
	return nil
}

// Control is Local's.
func (r *Remote) Control(ctx context.Context) (cluster.Control, error) {
	asked := time.Now()
	a, err := r.ask(ctx, order{Verb: verbControl})
	if err != nil {
		return cluster.Control{}, err
	}
	if a.Control == nil {
		return cluster.Control{}, fmt.Errorf("agent %s: %w", r.address, errOrder)
	}
	a.Control.Since = asked // its clock is another one
	return *a.Control, nil
}

// Renew is contact: the lease of the agent begins anew.
func (r *Remote) Renew(ctx context.Context, term cluster.Term) error {
	_, err := r.ask(ctx, order{Verb: verbRenew, Term: term})
	return err
}

// Start is Local's.
func (r *Remote) Start(ctx context.Context, term cluster.Term) error {
	_, err := r.command(ctx, order{Verb: verbStart, Term: term})
	return err
}

// Stop is Local's.
func (r *Remote) Stop(ctx context.Context, term cluster.Term, mode cluster.StopMode) (end cluster.LSN, err error) {
	a, err := r.command(ctx, order{Verb: verbStop, Term: term, Mode: mode})
	return a.End, err
}

// Promote is Local's.
func (r *Remote) Promote(ctx context.Context, term cluster.Term) error {
	_, err := r.command(ctx, order{Verb: verbPromote, Term: term})
	return err
}

// Standby is Local's.
func (r *Remote) Standby(ctx context.Context, term cluster.Term, src cluster.Source) error {
	_, err := r.command(ctx, order{Verb: verbStandby, Term: term, Source: &src})
	return err
}

// Rewind is Local's.
func (r *Remote) Rewind(ctx context.Context, term cluster.Term, src cluster.Source) error {
	_, err := r.command(ctx, order{Verb: verbRewind, Term: term, Source: &src})
	return err
}

// BaseBackup is Local's.
func (r *Remote) BaseBackup(ctx context.Context, term cluster.Term, src cluster.Source) error {
	_, err := r.command(ctx, order{Verb: verbBaseBackup, Term: term, Source: &src})
	return err
}

// spareTime is how long a connection is kept; the agent keeps it longer.
const spareTime = idleTime / 2

func (r *Remote) takeSpare() *channel {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch := r.spare
	r.spare = nil
	return ch
}

// keep keeps a connection for the next question.
func (r *Remote) keep(ch *channel) {
	r.mu.Lock()
	old := r.spare
	r.spare, r.used = ch, time.Now()
	r.mu.Unlock()
	if old != nil {
		_ = old.conn.Close() // nothing is under way on it
	}
}

func (r *Remote) fresh() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.used) < spareTime
}

// ask asks what may be asked twice: on the connection that is kept, and if that one was lost on a new one.
func (r *Remote) ask(ctx context.Context, o order) (answer, error) {
	fresh := r.fresh()
	ch := r.takeSpare()
	if ch != nil && fresh {
		a, err := r.call(ctx, ch, o)
		if told := r.told(a, err); (err == nil || ctx.Err() != nil) && !errors.Is(told, errRekeyed) {
			return a, told
		}
	} else if ch != nil {
		_ = ch.conn.Close() // nothing is under way on it
	}
	return r.command(ctx, o)
}

// command gives an order on a connection of its own, once; again only where the agent has not begun with it, having got another key meanwhile.
func (r *Remote) command(ctx context.Context, o order) (answer, error) {
	a, err := r.commandOnce(ctx, o)
	if errors.Is(err, errRekeyed) {
		a, err = r.commandOnce(ctx, o)
	}
	return a, err
}

func (r *Remote) commandOnce(ctx context.Context, o order) (answer, error) {
	ch, err := r.dial(ctx)
	if err != nil {
		return answer{}, fmt.Errorf("agent %s: %w", r.address, err)
	}
	a, err := r.call(ctx, ch, o)
	return a, r.told(a, err)
}

// told is the error of a call: the connection's, or what the agent said.
func (r *Remote) told(a answer, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("agent %s: %w", r.address, err)
	case a.Error != "":
		return &farError{text: fmt.Sprintf("agent %s: %s", r.address, a.Error), kind: kinds()[a.Kind]}
	}
	return nil
}

func (r *Remote) dial(ctx context.Context) (*channel, error) {
	dialer := net.Dialer{Timeout: handshakeTime}
	c, err := dialer.DialContext(ctx, "tcp", r.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	ch, err := r.greet(ctx, c)
	stop()
	if err != nil {
		err = errors.Join(err, c.Close())
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return ch, nil
}

func (r *Remote) greet(ctx context.Context, c net.Conn) (*channel, error) {
	if err := setDeadline(ctx, c, handshakeTime); err != nil {
		return nil, err
	}
	if r.credentials.tls != nil {
		host, _, err := net.SplitHostPort(r.address)
		if err != nil {
			return nil, err
		}
		own := r.credentials.tls.Clone()
		own.ServerName = host
		over := tls.Client(c, own)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = over
	}
	return connect(c, r.credentials.key)
}

// call gives an order and waits for the answer. The connection is kept if the agent has answered, else closed.
func (r *Remote) call(ctx context.Context, ch *channel, o order) (answer, error) {
	stop := context.AfterFunc(ctx, func() { _ = ch.conn.SetDeadline(time.Unix(1, 0)) })
	a, err := converse(ctx, ch, o)
	if stop() && err == nil {
		r.keep(ch)
		return a, nil
	}
	_ = ch.conn.Close() // the agent ends what it does when it finds out
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return a, err
}

// errMute is an agent that hangs up: one of a release before Source.Login does so at once, and changes nothing.
var errMute = errors.New("it hung up when it was told how the standby is to log in; it may be of an older release than pgpool")

func converse(ctx context.Context, ch *channel, o order) (answer, error) {
	if err := ch.tell(ctx, o); err != nil {
		return answer{}, err
	}
	quit := make(chan struct{})
	var beat sync.WaitGroup
	beat.Go(func() { ch.stay(ctx, quit) })
	defer beat.Wait()
	defer close(quit)
	for told := false; ; told = true {
		err := ch.conn.SetReadDeadline(time.Now().Add(goneTime))
		if ctx.Err() != nil {
			return answer{}, context.Cause(ctx)
		}
		if err != nil {
			return answer{}, err
		}
		text, err := ch.in.read(ch.conn)
		if errors.Is(err, io.EOF) && !told && o.Source != nil && o.Source.Login != "" {
			err = fmt.Errorf("%w: %w", errMute, err)
		}
		if err != nil {
			return answer{}, err
		}
		var a answer
		if err := decode(text, &a); err != nil || a.Done {
			return a, err
		}
	}
}

func (ch *channel) tell(ctx context.Context, o order) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	frame, err := ch.out.seal(text)
	if err != nil {
		return err
	}
	err = ch.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	_, err = ch.conn.Write(frame)
	return err
}

// stay says that we are there until quit. A connection that is lost is noticed by who reads.
func (ch *channel) stay(ctx context.Context, quit <-chan struct{}) {
	t := time.NewTicker(stayTime)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if ch.tell(ctx, order{Verb: verbStay}) != nil {
				return
			}
		case <-quit:
			return
		}
	}
}
