package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"

	"gopgpool/logging"
	"gopgpool/pgwire"
	"gopgpool/proxy/route"
)

// This file is about reads that were under way on a server that is lost (rerun_lost_reads). One of which the client has got nothing is
// run again elsewhere: what the client has sent still stands in its buffer, which is simply put back to where it began, and dealt
// with anew. Nothing is kept for that: where the buffer has been used for something else since, the client gets the error.
//
//	         taken from the buffer        answered, or told something
//	... ----> under way ----------------------------------------> ...
//	            ^   |  the server is lost, and the text is harmless
//	            |   v
//	            | put back --(catalogue: it may do more than read, nobody can be asked, once already)--> the error of the loss
//	            |   |
//	            +---+
//
// A server may also end while it is brought up to the session's state, ahead of the client's statement. That one has not been run then, so it
// is put back whatever it does.

// maxReruns is how often one statement is run again. A statement that takes its server with it, for its size say, must not have all of them.
const maxReruns = 1

// flight is what the client has sent last: a message, or the messages of a batch up to its Sync.
type flight struct {
	at      int    // where it begins in the client's buffer
	message int    // and where the message begins that is dealt with now
	shifts  uint32 // side.shifts when it began
	mark    int    // how many changes of names there were before it

	told      bool // the client has got something of its answer
	cancelled bool // the client wants it no more

	// Of one that was put back:
	reruns   uint8        // how often
	putBack  bool         // and it has not been taken since
	anywhere bool         // the server was a standby: whatever was run there, it has written nothing
	vetted   bool         // the catalogue has nothing against it
	lost     func() error // the error of the loss; nil: it has not been run
}

// takesOff notes that something begins which the client has sent.
func (s *session) takesOff() {
	f := &s.flight
	f.at, f.shifts, f.mark = s.client.r, s.client.shifts, s.changed()
	f.told, f.cancelled = false, false
	switch {
	case f.putBack:
		f.putBack = false
	case f.reruns > 0:
		f.reruns, f.lost = 0, nil
	}
}

// mayRerun reports whether all that is under way is one read on b that may be run again, as far as its text tells.
func (s *session) mayRerun(b *backend) bool {
	return s.srv.holding().RerunLostReads && !s.journal.InTx() && s.canRewind(b) && s.oneRead(b)
}

// mayPutBack reports whether what is under way can be dealt with anew when b has ended before it came to it, so at a statement of ours
// ahead of it. In a block nothing but that may have been there: its BEGIN is still owed an answer.
func (s *session) mayPutBack(b *backend) bool {
	begun := s.journal.InTx()
	for i := b.head; i < len(b.queue); i++ {
		e := &b.queue[i]
		if e.note != nil || e.answer != nil || e.failed {
			return false
		}
		begun = begun && !e.begins
	}
	return !begun && s.canRewind(b)
}

// canRewind reports whether the client's buffer still has all that is under way, that it has got nothing for it, and that nothing else would
// be lost with b.
func (s *session) canRewind(b *backend) bool {
	f := &s.flight
	switch {
	case s.secret == nil, s.resetting, s.gone, s.end != nil, s.bereaved != nil:
		return false
	case s.owed != 1, s.pumping, s.batchUsed, s.copyIn != nil, s.client.skip > 0, s.midFrame != nil, s.skipping:
		return false
	case f.told, f.cancelled, s.cancels > 0, f.reruns >= maxReruns, f.shifts != s.client.shifts, s.client.in == nil:
		return false
	case b.holds != 0, b.lasting, b.ending:
		return false
	}
	for _, o := range s.backends {
		if o != b && (o.outstanding() > 0 || o.unsynced) {
			return false
		}
	}
	return true
}

// oneRead reports whether the client waits for one statement on b, and for one that reads.
func (s *session) oneRead(b *backend) bool {
	found := false
	for i := b.head; i < len(b.queue); i++ {
		e := &b.queue[i]
		switch {
		case e.swallow, e.kind == ownAnswer && bytes.Equal(e.answer, closeComplete):
			continue
		case e.note != nil, e.answer != nil, e.failed:
			return false
		}
		switch e.kind {
		case pgwire.Query, pgwire.Execute:
			if found || e.writes || e.facts == nil || !route.Rerunnable(s.subject(e.facts)) {
				return false
			}
			found = true
		case pgwire.Parse, pgwire.Bind, pgwire.Describe, describePortal, pgwire.Close, pgwire.Sync:
		default:
			return false
		}
	}
	return found
}

// severed reports whether an error is about the connection, not about what came on it.
func severed(cause error) bool {
	var errno unix.Errno
	return errors.Is(cause, io.EOF) || errors.Is(cause, errNodeLeft) || errors.Is(cause, net.ErrClosed) || errors.As(cause, &errno)
}

// rewind puts what the client has sent back and gives up the connection on which it was lost. lost is nil where it has not been run there:
// whatever it is, it can be run elsewhere then.
func (s *session) rewind(b *backend, lost func() error) {
	f := &s.flight
	f.reruns++
	f.putBack, f.vetted, f.lost = true, false, lost
	f.anywhere = b.standby
	s.owed--
	s.client.r = f.at
	s.takeBack(f.mark)
	s.blocked, s.batchWrote = nil, false
	s.log.Log(logging.Event{Severity: logging.Debug1, Message: fmt.Sprintf("what DB node %d has not answered is run elsewhere", b.node)})
	s.dropBackend(b)
}

// vet asks the catalogue about a statement that is to be run again, and the error is that of its loss where it may do more than read. The
// names in it may be hidden: operators, casts, types and policies of tables call functions too, and where there are some that are
// volatile nothing is run again that may have been run on a primary.
func (s *session) vet(in *route.Input) error {
	if s.flight.vetted {
		return nil
	}
	known := in.Names
	if err := s.lookUp(in); err != nil {
		return err
	}
	names := in.Names
	in.Names = known
	f := in.Subject()
	if !route.Rerunnable(f) || !route.Innocent(f, &names) {
		return s.flight.lost()
	}
	if !s.flight.anywhere {
		b, err := s.whoKnows()
		if err != nil {
			return err
		}
		hidden := false
		err = s.ask(b, hiddenEffects, func([][]byte) error {
			hidden = true
			return nil
		})
		switch {
		case err != nil && !isRefusal(err):
			return err
		case err != nil || hidden:
			return s.flight.lost()
		}
	}
	s.flight.vetted = true
	s.home.tally.Reruns++
	return nil
}

// orLost is the error for a statement that was to be run again and could not: that of its loss, for it may have been run once.
func (s *session) orLost(err error) error {
	if err == nil || s.flight.lost == nil || s.mustEndNow(err) || errors.Is(err, errCancelled) {
		return err
	}
	return s.flight.lost()
}

// hiddenEffects gives a row where something besides the functions that a statement names may call a volatile function.
const hiddenEffects = `SELECT 1 WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relrowsecurity)` +
	` OR EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.provolatile OPERATOR(pg_catalog.=) 'v' AND p.oid OPERATOR(pg_catalog.>=) 16384 AND (` +
	`EXISTS (SELECT FROM pg_catalog.pg_operator o WHERE o.oprcode OPERATOR(pg_catalog.=) p.oid)` +
	` OR EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castfunc OPERATOR(pg_catalog.=) p.oid)` +
	` OR EXISTS (SELECT FROM pg_catalog.pg_aggregate a WHERE p.oid OPERATOR(pg_catalog.=) ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn]))` +
	` OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE p.oid OPERATOR(pg_catalog.=) ANY (ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend]))))`
