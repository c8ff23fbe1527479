package proxy

import (
	"errors"
	"time"

	"gopgpool/auth"
	"gopgpool/pool"
	"gopgpool/proxy/meter"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
)

// This file counts what sessions do, in the counters of their loop. A statement's time is taken from the loop's clock, which stands still
// during a turn: it costs no system call, and is as exact as turns are short.

// instant is a time since the start of the proxy; 0 is none.
type instant time.Duration

// now is the time of this turn.
func (s *session) now() instant { return instant(max(s.t.Now().Sub(s.srv.started), 1)) }

// measure counts a statement that is sent to b for a reason, and has its time taken.
func (s *session) measure(e *expect, b *backend, why route.ReasonCode) {
	e.sent = s.now()
	s.countRoute(b, why)
}

func (s *session) countRoute(b *backend, why route.ReasonCode) {
	s.home.tally.Routed(b.node, uint8(why))
}

// took ends taking the time of a statement, if it was.
func (s *session) took(b *backend, e *expect) {
	if e.sent == 0 {
		return
	}
	s.home.tally.Answered(b.node, classOf(e.facts, e.writes), time.Duration(s.now()-e.sent))
	e.sent = 0
}

// classOf tells statements apart by what they do. writes is what was found out about it when it was routed.
func classOf(f *stmt.Facts, writes bool) meter.Class {
	if f == nil {
		return meter.Other
	}
	switch f.Kind {
	case stmt.KindBegin, stmt.KindCommit, stmt.KindRollback, stmt.KindSavepoint, stmt.KindRollbackTo, stmt.KindRelease,
		stmt.KindPrepareTransaction, stmt.KindCommitPrepared, stmt.KindRollbackPrepared:
		if f.Multi {
			return meter.Other
		}
		return meter.Transaction
	case stmt.KindSelect, stmt.KindInsert, stmt.KindUpdate, stmt.KindDelete, stmt.KindMerge, stmt.KindCopyFrom, stmt.KindCopyTo,
		stmt.KindExecute, stmt.KindExplain, stmt.KindDeclareCursor, stmt.KindFetch, stmt.KindCall, stmt.KindDo, stmt.KindUnparsed,
		stmt.KindOther:
		if writes {
			return meter.Write
		}
		return meter.Read
	}
	return meter.Other
}

// countError counts an error that the client gets instead of an answer.
func (s *session) countError(err error) {
	var server *pool.ServerError
	switch {
	case err == nil, errors.Is(err, errBatchFailed):
	case errors.As(err, &server):
		s.home.tally.ServerError(server.Node, server.Fields.Code)
	default:
		s.home.tally.Error(fieldsOf(err).Code)
	}
}

// countEnd counts the error with which a session ends, where the client is told one.
func (s *session) countEnd(cause error) {
	if !isFarewell(cause) {
		return
	}
	s.countError(cause)
}

// countLogin counts how a login ended.
func (s *session) countLogin(err error) {
	end := meter.LoginFailed
	var refused *auth.Error
	switch {
	case err == nil:
		end = meter.LoginOK
	case !isFarewell(err) && !errors.As(err, &refused):
		end = meter.LoginAbandoned
	}
	s.home.tally.Logins[end]++
}

// countPins counts that the session keeps a connection, once for each reason.
func (s *session) countPins(b *backend) {
	if b.holds == b.counted || b.probing != nil || b.probe && b.holds&findable != 0 {
		return // nothing new, or it may turn out that there is nothing
	}
	s.home.tally.Pinned(uint32(b.holds &^ b.counted))
	b.counted = b.holds
}
