package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/meter"
	"gopgpool/proxy/stmt"
)

// This file is about a COMMIT whose server is lost before it has answered (commit_outcome): the transaction's id is asked for ahead of it, in
// the same write, and the session waits for who can tell what has become of it. outcome.go decides.
//
// The question is a statement of its own in front of the COMMIT, in the transaction: its answer leaves the server before the COMMIT is run.
// Should it fail, because the client's cancel request or statement_timeout has hit it, the transaction fails with it, and the client is told
// so in place of the COMMIT's answer, as if the COMMIT had been hit.

// idQuestions are by the server's version.
var (
	idQuestion     = pgwire.AppendQuery(nil, idQuestionText)
	idQuestionOf10 = pgwire.AppendQuery(nil, "SELECT pg_catalog.txid_current_if_assigned()")
)

const idQuestionText = "SELECT pg_catalog.pg_current_xact_id_if_assigned()"

// idQuestionFor is the question a server knows, nil if none.
func idQuestionFor(version int) []byte {
	switch {
	case version >= 13:
		return idQuestion
	case version >= 10:
		return idQuestionOf10
	}
	return nil
}

// statusQuestion asks a server what has become of a transaction.
func statusQuestion(version int, id cluster.XID) string {
	n := strconv.FormatUint(uint64(id), 10)
	if version >= 13 {
		return "SELECT pg_catalog.pg_xact_status('" + n + "'::pg_catalog.xid8)"
	}
	return "SELECT pg_catalog.txid_status(" + n + ")"
}

// majorOf is the server's version, 0 if it does not say.
func majorOf(params []pgwire.Param) int {
	for i := range params {
		if params[i].Name != "server_version" {
			continue
		}
		n := 0
		for _, c := range []byte(params[i].Value) {
			if c < '0' || c > '9' || n > 1000 {
				break
			}
			n = 10*n + int(c-'0')
		}
		return n
	}
	return 0
}

// commitWatch is the question under way, or the last one. A session has at most one COMMIT under way.
type commitWatch struct {
	collector
	answered, none bool
	xid            cluster.XID
	sent           time.Time
}

func (w *commitWatch) row(columns [][]byte) error {
	if len(columns) != 1 {
		return fmt.Errorf("unexpected row of %d columns", len(columns))
	}
	if columns[0] == nil {
		w.answered, w.none = true, true
		return nil
	}
	var id cluster.XID
	for _, c := range columns[0] {
		if c < '0' || c > '9' {
			return errors.New("unexpected transaction id")
		}
		id = 10*id + cluster.XID(c-'0')
	}
	w.xid, w.answered = id, id != 0
	return nil
}

// watch makes ready for a question.
func (s *session) watch() *commitWatch {
	w := s.commits
	if w == nil {
		w = &commitWatch{}
		w.take = w.row
		s.commits = w
	}
	w.err, w.done, w.answered, w.none, w.xid, w.sent = nil, false, false, false, 0, s.t.Now()
	return w
}

// findsOutcome reports whether commit_outcome is in force.
func (s *session) findsOutcome() bool {
	f := s.srv.holding()
	return f.CommitOutcome && f.WithoutScripts() && s.srv.store.Current().Mode == cluster.ModeStreaming
}

// asksID puts the question for the transaction's id in front of the COMMIT that is sent to b next. It reports false where that is not worth
// while, or not possible: in the middle of a batch.
func (s *session) asksID(b *backend) bool {
	if b.standby || !b.wrote || b.status != 'T' || b.unsynced || b.outstanding() > 0 || !s.state.Wrote() || !s.findsOutcome() {
		return false
	}
	question := idQuestionFor(majorOf(b.c.Params))
	if question == nil || s.srv.mute.has(b.c.Key) {
		return false
	}
	w := s.watch()
	b.unnamed = nil
	b.dirty = true
	b.push(expect{kind: pgwire.Query, swallow: true, collect: &w.collector, asksID: true})
	b.setQueued(append(b.queued(), question...))
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, string(question[pgwire.HeaderSize:len(question)-1]))
	}
	return true
}

// idRefused is an error of the question: the COMMIT behind it will roll back. The client gets the error now and nothing for the COMMIT.
func (s *session) idRefused(b *backend, f pgwire.Fields) (pass bool) {
	s.state.Failed()
	for i := b.head + 1; i < len(b.queue); i++ {
		e := &b.queue[i]
		if e.note == nil || e.note.end != endCommit {
			continue
		}
		e.note, e.muted = rollingBack, true
		if e.kind == pgwire.Execute {
			s.batchFailed = true
			s.skipping = s.owed == 0
		}
		break
	}
	if strings.HasPrefix(f.Code, "57") {
		return true
	}
	s.srv.mute.add(b.c.Key)
	s.log.Log(logging.Event{
		Severity: logging.Warning, Message: "the server does not tell the id of a transaction", Detail: f.Message,
		Hint: "commit_outcome does nothing for this user in this database until a restart.", Node: logging.OnNode(b.node),
	})
	err := &clientError{
		Code: "40001", Message: "the transaction could not be committed", Hint: "Repeat the transaction.",
		Detail: "The server does not tell its id (" + f.Message + "); it was rolled back and has had no effect.",
	}
	s.countError(err)
	s.client.queue(pgwire.AppendError(nil, fieldsOf(err)))
	return false
}

// muted are the databases and users for whom servers do not answer the question.
type muted struct {
	mu   sync.RWMutex
	keys map[pool.Key]bool // guarded by mu
}

// maxMuted bounds them; more are asked in vain.
const maxMuted = 10000

func (m *muted) has(k pool.Key) bool {
	k.Node, k.Params = cluster.NoNode, ""
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.keys) > 0 && m.keys[k]
}

func (m *muted) add(k pool.Key) {
	k.Node, k.Params = cluster.NoNode, ""
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys == nil {
		m.keys = make(map[pool.Key]bool)
	}
	if len(m.keys) < maxMuted {
		m.keys[k] = true
	}
}

// doubt is a COMMIT whose answer was lost, until its outcome is known.
type doubt struct {
	lostCommit
	facts *stmt.Facts
	cause error
	sent  time.Time
	lost  time.Time
	ready bool // ReadyForQuery is to follow; otherwise the client has not sent Sync so far
	// holds is what else was lost with the connection, and ends the session when the client has its answer; so does the server's last word
	// where somebody has meant the session by it.
	holds holding
	meant *serverRefusal
}

// endUnderWay is the COMMIT that b owes the answer to, with what follows it; nil if it owes the client anything else.
func (s *session) endUnderWay(b *backend) (commit *expect, ready bool) {
	for i := b.head; i < len(b.queue); i++ {
		e := &b.queue[i]
		switch {
		case commit == nil && e.swallow && e.kind != pgwire.Sync:
		case commit == nil && e.note != nil && e.note.end == endCommit && e.facts.Kind == stmt.KindCommit && !e.failed && !e.told:
			commit, ready = e, e.kind == pgwire.Query
		case commit != nil && !ready && e.kind == pgwire.Sync && !e.swallow:
			ready = true
		default:
			return nil, false
		}
	}
	return commit, ready
}

// doubts takes note of a COMMIT that is lost with b, and drops it; it reports false where there is none, or its outcome can be nothing but
// unknown.
func (s *session) doubts(b *backend, cause error) bool {
	if s.pumping || s.doubt != nil || s.midFrame == b || b.spent || !s.journal.InTx() || !s.findsOutcome() {
		return false
	}
	e, ready := s.endUnderWay(b)
	if e == nil {
		return false
	}
	d := &doubt{facts: e.facts, cause: cause, lost: s.t.Now(), ready: ready, holds: b.holds}
	d.warned, d.keeps = b.warned, b.holds&holdsCursor != 0
	d.node, d.epoch, d.standby, d.serializable = b.node, b.c.Epoch, b.standby && !b.wrote, s.state.Serializable()
	if e.asked {
		w := s.commits
		d.asked, d.answered, d.xid, d.none, d.sent = true, w.answered && w.err == nil, w.xid, w.none, w.sent
	}
	var refusal *serverRefusal
	if errors.As(cause, &refusal) {
		d.unrun = b.front().asksID
		if refusal.f.Code != "57P02" {
			d.meant, d.refused = refusal, true
		}
	}
	if f := d.atOnce(); !f.open && f.outcome == meter.Unknown {
		return false
	}
	s.doubt = d
	if s.blocked == b {
		s.blocked = nil
	}
	s.logLost(b.node, cause)
	s.dropBackend(b)
	return true
}

// settleDoubt waits for the outcome of a COMMIT that was lost with its connection, and tells the client.
func (s *session) settleDoubt() error {
	d := s.doubt
	f, err := s.findOut(d)
	s.doubt = nil
	if err != nil {
		if s.mustEndNow(err) {
			return err
		}
		f = found(meter.Unknown, err.Error())
	}
	s.home.tally.Ends[f.outcome]++
	s.log.Log(logging.Event{
		Severity: logging.Log, Message: "outcome of a COMMIT lost with its server connection: " + f.outcome.String(), Reason: f.why,
		Node: logging.OnNode(d.node),
	})
	if f.outcome == meter.Unknown {
		return unknownOutcome(d.node, fmt.Errorf("%w; %s", d.cause, f.why), writing)
	}
	s.endLost(d, f.outcome == meter.Committed)
	switch {
	case d.holds != 0:
		return lostNodeError(d.node, d.cause, stateThere)
	case d.meant != nil && s.writer() == d.node && !orphaned(&d.meant.f):
		return endedBy(d.node, d.meant.f, nothing)
	}
	return nil
}

// askPause is the time between two attempts to ask a server that does not answer, or does not know so far.
const askPause = 100 * time.Millisecond

// findOut waits until somebody can tell the outcome.
func (s *session) findOut(d *doubt) (finding, error) {
	f := d.atOnce()
	if !f.open {
		return f, nil
	}
	end := d.lost.Add(s.srv.holding().HoldTimeout)
	var a attempt
	a.ticket, _ = s.srv.room.admit(0, &conf.Failover{}) // it keeps nothing, and the bounds are for what was never sent
	defer s.leaveRoom(&a)
	defer s.stands(heldBack)()
	defer s.placingDone()
	for s.placing = true; ; {
		v := s.srv.store.Current()
		w, f := d.look(v)
		if f.open && w.node != cluster.NoNode && !w.same {
			if waited, err := s.awaitTurn(&a); err != nil && !s.cancelled {
				return f, err
			} else if waited && !s.cancelled {
				continue
			}
		}
		if f.open && !s.cancelled && w.node != cluster.NoNode {
			var err error
			if f, err = s.hearWitness(d, w, v, end); err != nil {
				return f, err
			}
		}
		now := s.t.Now()
		switch {
		case !f.open:
			return f, nil
		case s.cancelled:
			return found(meter.Unknown, "the client has not waited for the new primary"), nil
		case !now.Before(end):
			return found(meter.Unknown, "no primary within failover_hold_timeout could tell"), nil
		}
		until := now.Add(askPause)
		if w.node == cluster.NoNode || end.Before(until) {
			until = end
		}
		over := func() bool { return s.cancelled || s.srv.store.Current() != v || !s.t.Now().Before(until) }
		if err := s.pumpUntil(until, over); err != nil {
			return f, err
		}
	}
}

// hearWitness asks a server, until end; the finding is open where it is worth while to ask again.
func (s *session) hearWitness(d *doubt, w witness, v *cluster.View, end time.Time) (finding, error) {
	b, err := s.askable(w.node, v)
	switch {
	case err == nil:
	case s.mustEndNow(err):
		return undecided(), err
	case turnedAway(err):
		return found(meter.Unknown, "the primary does not let the session in: "+err.Error()), nil
	default:
		s.tellLost(w.node, v, err)
		return undecided(), nil
	}
	t := testimony{older: b.c.Created.Before(d.sent)}
	c := &collector{take: func(columns [][]byte) error {
		if len(columns) == 1 {
			t.status = string(columns[0])
		}
		return nil
	}}
	s.putQuestion(b, c, statusQuestion(majorOf(b.c.Params), d.xid))
	if err := s.pumpUntil(end, func() bool { return c.done || s.cancelled || !s.t.Now().Before(end) }); err != nil {
		return undecided(), err
	}
	switch {
	case !c.done, c.err != nil && !isRefusal(c.err):
		return undecided(), nil
	case c.err != nil:
		return found(meter.Unknown, "the primary says: "+c.err.Error()), nil
	}
	d.revived = s.srv.servedSince(d.node, d.lost)
	return d.believe(w, t), nil
}

// putQuestion sends a question of ours.
func (s *session) putQuestion(b *backend, c *collector, sql string) {
	b.unnamed = nil
	b.dirty = true
	b.setQueued(pgwire.AppendQuery(b.queued(), sql))
	b.push(expect{kind: pgwire.Query, swallow: true, collect: c})
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, sql)
	}
}

// turnedAway reports a server that will not let the session in if it is asked again.
func turnedAway(err error) bool {
	var refused *pool.ServerError
	return errors.As(err, &refused) && strings.HasPrefix(refused.Fields.Code, "28")
}

// askable is a connection to a node, on which nothing of the session's transaction is begun.
func (s *session) askable(node cluster.NodeID, v *cluster.View) (*backend, error) {
	if b := s.find(node); b != nil && !stale(b.c, v) && !b.busy() {
		return b, nil
	}
	c, err := s.connect(node)
	if err != nil {
		return nil, err
	}
	if stale(c, v) || v != s.srv.store.Current() {
		s.giveUp(c)
		return nil, errChanged
	}
	return s.attach(c), nil
}

// endLost folds the end of the transaction whose COMMIT was lost, and answers the COMMIT.
func (s *session) endLost(d *doubt, committed bool) {
	if !committed && !s.pooled && s.journal.Touching() {
		d.holds |= holdsSettings // the client has been told of values that are taken back
	}
	if s.journal.Touching() { // what those have made of its settings is not certain
		for i := len(s.backends) - 1; i >= 0; i-- {
			if b := s.backends[i]; b.mark.Joined() {
				s.dropBackend(b)
			}
		}
	}
	chain := committed && d.facts.Chain
	s.endTransaction(committed, chain, nil)
	s.hears.notified = false // nobody will hear of it
	if committed {
		s.client.queue(pgwire.AppendTag(nil, "COMMIT"))
	} else {
		err := rolledBack(d.node)
		s.countError(err)
		s.client.queue(pgwire.AppendError(nil, fieldsOf(err)))
	}
	if !d.ready {
		s.batchFailed, s.skipping = !committed, !committed
		return
	}
	s.owed--
	s.batchFailed = !committed
	s.endBatch()
	s.settleChanges()
	s.client.queue(pgwire.AppendReady(nil, s.txByte()))
	s.lastSeen = s.t.Now()
}

// rolledBack is a transaction whose COMMIT did not take effect before its server was lost.
func rolledBack(node cluster.NodeID) error {
	return &clientError{
		Code: "40001", Message: fmt.Sprintf("the transaction was lost with DB node %d before it was committed", node),
		Detail: "It was rolled back and has had no effect.", Hint: "Repeat the transaction.",
	}
}

// unknownOutcome is lostNodeError for what may have taken effect, where commit_outcome is in force.
func unknownOutcome(node cluster.NodeID, cause error, at stake) *clientError {
	e := lostNodeError(node, cause, at)
	e.Code = "08007"
	return e
}

// lostWith is the error for a connection that was lost with what is at stake.
func (s *session) lostWith(node cluster.NodeID, cause error, at stake) *clientError {
	if at == writing && s.findsOutcome() {
		s.home.tally.Ends[meter.Unknown]++
		return unknownOutcome(node, cause, at)
	}
	return lostNodeError(node, cause, at)
}

// servedSince reports whether somebody was let in at a node after a time.
func (srv *Server) servedSince(node cluster.NodeID, t time.Time) bool {
	if g := srv.store.Gauges().Primary; g.Node == node && g.Measured.After(t) {
		return true
	}
	return srv.served[node].Load() > t.Sub(srv.started).Nanoseconds()
}

// serves notes that a node has let somebody in.
func (srv *Server) serves(node cluster.NodeID, now time.Time) {
	srv.served[node].Store(now.Sub(srv.started).Nanoseconds())
}
