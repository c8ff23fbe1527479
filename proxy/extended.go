package proxy

import (
	"errors"

	"gopgpool/pgwire"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
)

// portal is a bound statement and the server that has it.
type portal struct {
	b            *backend // nil: the proxy answers it
	p            *prepared
	writes, both bool         // of its routing decision
	signal       *boundSignal // the proxy answers it: a call about a session
}

// parse is a Parse message: the statement is routed by its text, and sent.
func (s *session) parse(frame []byte, size int) error {
	name, rest, ok := pgwire.CString(frame[pgwire.HeaderSize:])
	if !ok {
		return s.malformed(frame, size)
	}
	s.enterBatch()
	if err := s.barrier(); err != nil {
		return s.refuseExtended(err)
	}
	if s.pooled && s.isOurName(string(name)) {
		s.skipRest(frame, size)
		return s.refuseExtended(statementExists(string(name)))
	}
	old := s.named[string(name)]
	if size > len(frame) {
		if old != nil && len(name) > 0 {
			return s.parseAgain(old, frame, size)
		}
		return s.parseBig(string(name), frame, size)
	}
	text, _, ok := pgwire.CString(rest)
	if !ok {
		return s.malformed(frame, size)
	}
	f := s.analyze(text)
	if s.failed() && (f.Kind == stmt.KindEmpty || !endsFailure(f)) {
		return s.parseFailed(string(name), f, text, frame)
	}
	if old != nil && len(name) > 0 {
		return s.parseAgain(old, frame, size)
	}
	p := s.newPrepared(string(name), f, frame, text)
	if s.answersItself(f) {
		p.local = true
		return s.local(parseComplete)
	}
	d, q, b, err := s.placeBound(func() (route.Decision, *prepared, error) { return s.decide(f, text) })
	if err != nil {
		s.takeBack(s.mark)
		return s.refuseParse(name, err)
	}
	if q != nil { // EXECUTE or DEALLOCATE of it
		s.ensureOwn(q, b)
	} else if old := s.prepareClash(f, b); old != nil {
		s.ensureOwn(old, b)
	}
	if !b.unsynced {
		s.ownSequences(f, b)
	}
	s.ensureNamed(f, b)
	p.node, p.batch, p.stateVer = b.node, s.batch, s.stateVer
	p.writes, p.both, p.reason, p.epoch = d.Writes, d.Both, d.Reason, s.in.View.Generation
	s.sendParse(b, p, frame, size)
	if s.perNode {
		s.logPerNode(b, 'P', text)
	}
	return nil
}

// Answers of ours, a message each.
var (
	parseComplete = pgwire.AppendSimple(nil, pgwire.ParseComplete)
	bindComplete  = pgwire.AppendSimple(nil, pgwire.BindComplete)
	closeComplete = pgwire.AppendSimple(nil, pgwire.CloseComplete)
)

// parseFailed is a Parse in a failed transaction: a server that knows of the failure says what is wrong, which may be the text itself.
func (s *session) parseFailed(name string, f *stmt.Facts, text, frame []byte) error {
	b := s.failedBackend()
	if b == nil || f.Kind == stmt.KindPool {
		return s.refuseParse([]byte(name), errFailedTransaction)
	}
	if err := s.switchTo(b); err != nil {
		return s.refuseParse([]byte(name), err)
	}
	if old := s.named[name]; old != nil && name != "" {
		s.forward(b, expect{kind: pgwire.Parse}, frame, len(frame))
		return nil
	}
	p := s.newPrepared(name, f, frame, text)
	p.node = b.node
	s.sendParse(b, p, frame, len(frame))
	return nil
}

// refuseParse answers a Parse with an error: the unnamed statement there was is gone all the same.
func (s *session) refuseParse(name []byte, err error) error {
	if len(name) == 0 && !errors.Is(err, errBatchFailed) {
		s.name("", nil)
		s.mark = s.changed() // behind that: the error takes back what comes after
	}
	return s.refuseExtended(err)
}

// sendParse sends the client's Parse, which always reaches a server.
func (s *session) sendParse(b *backend, p *prepared, frame []byte, size int) {
	e := expect{kind: pgwire.Parse, facts: p.facts, prep: p}
	if p.shared != nil {
		s.closeDoubtful(p, b)
		frame, size = p.frame, len(p.frame)
	}
	s.forward(b, e, frame, size)
	p.placed(b)
	s.makeRoom(b, p)
}

// parseBig is a statement too long to be looked at: it lives where writes go and nowhere else.
func (s *session) parseBig(name string, frame []byte, size int) error {
	b, err := s.writerOrFailed()
	if err != nil {
		s.skipRest(frame, size)
		return s.refuseParse([]byte(name), err)
	}
	p := s.newPrepared(name, unparsed, nil, nil)
	p.lost, p.node, p.batch = true, b.node, s.batch
	s.forward(b, expect{kind: pgwire.Parse, facts: unparsed, prep: p}, frame, size)
	p.placed(b)
	return nil
}

// parseAgain is a Parse of a name in use: a server gives the error, the one whose batch has to fail by it.
func (s *session) parseAgain(old *prepared, frame []byte, size int) error {
	b := s.active
	if b == nil || !b.unsynced {
		b = s.holder(old)
	}
	b, err := s.orWriter(b)
	if err != nil {
		s.skipRest(frame, size)
		return s.refuseExtended(err)
	}
	s.ensureOwn(old, b)
	if b.owner == 0 && !old.on(b) || b.owner != 0 && !old.underOwnName(b) {
		s.skipRest(frame, size)
		return s.refuseExtended(statementExists(old.name))
	}
	s.forward(b, expect{kind: pgwire.Parse}, frame, size)
	return nil
}

// bind is a Bind message. The statement is routed again, for the session may have moved on since the Parse, and prepared on
// the server that lacks it.
func (s *session) bind(frame []byte, size int) error {
	portalName, rest, ok := pgwire.CString(frame[pgwire.HeaderSize:])
	name, _, ok2 := pgwire.CString(rest)
	if !ok || !ok2 {
		return s.malformed(frame, size)
	}
	s.enterBatch()
	if err := s.barrier(); err != nil {
		return s.refuseExtended(err)
	}
	p := s.statement(name)
	if p == nil && s.pooled && s.isOurName(string(name)) {
		s.skipRest(frame, size)
		return s.refuseExtended(noStatement(name))
	}
	if s.failed() && (p == nil || !endsFailure(p.facts) || p.facts.Kind == stmt.KindEmpty) {
		return s.bindFailed(portalName, name, p, frame, size)
	}
	if p != nil && p.local {
		s.setPortal(portalName, portal{p: p})
		return s.local(bindComplete)
	}
	s.signalled = 0
	if p != nil && p.facts.Signal != nil && size == len(frame) {
		if ok, err := s.bindSignal(p, portalName, frame); ok || err != nil {
			return err
		}
	}
	po := portal{p: p}
	d, _, b, err := s.placeBound(func() (route.Decision, *prepared, error) { return s.decideBound(p, &po, portalName) })
	if err != nil {
		s.skipRest(frame, size)
		return s.refuseExtended(err)
	}
	s.countRoute(b, d.Reason.Code)
	if p != nil {
		s.ownSequences(p.runs(), b)
		if old := s.prepareClash(p.facts, b); old != nil && !p.bySQL {
			s.ensureOwn(old, b)
		}
		if f := p.runs(); (f.Kind == stmt.KindExecute || f.Kind == stmt.KindDeallocate) && s.named[f.Name] != nil {
			s.ensureOwn(s.named[f.Name], b)
		}
		s.ensureNamed(p.runs(), b)
		if err := s.ensureForm(p, b, portalName); err != nil {
			s.skipRest(frame, size)
			return s.refuseExtended(err)
		}
	}
	s.clearUnnamed(b, name, p)
	po.b = b
	s.setPortal(portalName, po)
	s.mayHeal(b, p)
	s.forwardFor(b, expect{kind: pgwire.Bind, prep: p}, frame, size, pgwire.HeaderSize+len(portalName)+1, p)
	if s.perNode && p != nil {
		s.logPerNode(b, 'B', p.text)
	}
	return nil
}

// bindFailed is a Bind in a failed transaction. A server that knows of the failure and of the statement says what there is to say.
func (s *session) bindFailed(portalName, name []byte, p *prepared, frame []byte, size int) error {
	b := s.failedBackend()
	if b == nil || p != nil && (p.local || !p.on(b)) {
		s.skipRest(frame, size)
		return s.refuseExtended(errFailedTransaction)
	}
	if err := s.switchTo(b); err != nil {
		s.skipRest(frame, size)
		return s.refuseExtended(err)
	}
	s.clearUnnamed(b, name, p)
	s.setPortal(portalName, portal{p: p, b: b})
	s.forwardFor(b, expect{kind: pgwire.Bind, prep: p}, frame, size, pgwire.HeaderSize+len(portalName)+1, p)
	return nil
}

// malformed passes on a message that is not well formed: the server says what is wrong with it, and its transaction fails.
func (s *session) malformed(frame []byte, size int) error {
	s.enterBatch()
	if err := s.barrier(); err != nil {
		return s.refuseExtended(err)
	}
	b := s.active
	if b == nil || !b.unsynced {
		b = nil
	}
	b, err := s.orWriter(b)
	if err != nil {
		s.skipRest(frame, size)
		return s.refuseExtended(err)
	}
	s.forward(b, expect{kind: frame[0]}, frame, size)
	return nil
}

// skipRest drops what is still to come of a message that is not sent.
func (s *session) skipRest(frame []byte, size int) {
	if size > len(frame) {
		s.streamTo = nil
	}
}

// decideBound decides about a Bind: where the statement goes, or a server that gives the error.
func (s *session) decideBound(p *prepared, po *portal, portalName []byte) (d route.Decision, _ *prepared, err error) {
	s.look()
	if old := s.portals[string(portalName)]; old != nil && old.b != nil {
		return route.Decision{Node: old.b.node}, nil, nil // the name is taken there
	}
	if p == nil {
		return s.toWriter() // there is no such statement
	}
	d, err = s.decideBind(p, po)
	return d, nil, err
}

// decideBind routes a statement at Bind. One that was parsed just before, with nothing in between, stays where it is.
func (s *session) decideBind(p *prepared, po *portal) (route.Decision, error) {
	if p.lost {
		po.writes = true
		return route.Decision{Node: p.node}, nil
	}
	if p.batch == s.batch && p.stateVer == s.stateVer && p.epoch == s.srv.store.Current().Generation {
		po.writes, po.both = p.writes, p.both
		return route.Decision{Node: p.node, Reason: p.reason}, nil
	}
	d, _, err := s.decide(p.runs(), p.text)
	po.writes, po.both = d.Writes, d.Both
	return d, err
}

func (s *session) portal(name []byte) (portal, bool) {
	if len(name) == 0 {
		return s.noName, s.noName.p != nil || s.noName.b != nil
	}
	p := s.portals[string(name)]
	if p == nil {
		return portal{}, false
	}
	return *p, true
}

// describe is a Describe of a statement or a portal.
func (s *session) describe(frame []byte) error {
	what, name, ok := object(frame)
	if !ok {
		return s.malformed(frame, len(frame))
	}
	s.enterBatch()
	if err := s.barrier(); err != nil {
		return s.refuseExtended(err)
	}
	kind := byte(describePortal)
	var po portal
	var p *prepared
	var b *backend
	if what == 'S' {
		kind = pgwire.Describe
		p = s.statement(name)
		if p == nil && s.pooled && s.isOurName(string(name)) {
			return s.refuseExtended(noStatement(name))
		}
		b = s.holder(p)
	} else if po, _ = s.portal(name); po.signal != nil {
		return s.local(appendSignalColumn(nil, po.signal.terminate, po.signal.binary))
	} else {
		p, b = po.p, po.b
	}
	if s.failed() && p != nil && !endsFailure(p.facts) {
		if b = s.failedBackend(); b == nil || p.local || !p.on(b) {
			return s.refuseExtended(errFailedTransaction)
		}
	} else if p != nil && p.local {
		return s.local(s.describeLocal(p, what == 'S'))
	}
	b, err := s.orWriter(b)
	if err != nil {
		return s.refuseExtended(err)
	}
	if p != nil && what == 'S' {
		s.ensureExtended(p, b)
	}
	if what == 'S' {
		s.clearUnnamed(b, name, p)
		s.forwardFor(b, expect{kind: kind, prep: p}, frame, len(frame), pgwire.HeaderSize+1, p)
	} else {
		s.clearUnnamedPortal(b, name, &po)
		s.forward(b, expect{kind: kind, prep: p}, frame, len(frame))
	}
	if s.perNode {
		s.logPerNode(b, pgwire.Describe, nil)
	}
	return nil
}

// object reads the kind and name of Describe and Close.
func object(frame []byte) (what byte, name []byte, ok bool) {
	body := frame[pgwire.HeaderSize:]
	if len(body) < 2 || body[0] != 'S' && body[0] != 'P' {
		return 0, nil, false
	}
	name, rest, ok := pgwire.CString(body[1:])
	return body[0], name, ok && len(rest) == 0
}

// execute is an Execute message. It goes where the portal is.
func (s *session) execute(frame []byte) error {
	name, rest, ok := pgwire.CString(frame[pgwire.HeaderSize:])
	if !ok || len(rest) != 4 {
		return s.malformed(frame, len(frame))
	}
	s.enterBatch()
	if err := s.barrier(); err != nil {
		return s.refuseExtended(err)
	}
	po, known := s.portal(name)
	if s.failed() && known && po.p != nil && !endsFailure(po.p.facts) && (po.b == nil || po.b.status != 'E') {
		return s.refuseExtended(errFailedTransaction)
	}
	if known && po.signal != nil {
		return s.executeSignal(po.signal)
	}
	if known && po.p != nil {
		s.cutsBatch(po.p.runs())
	}
	if known && po.p != nil && po.p.local {
		return s.executeLocal(po.p)
	}
	b, err := s.orWriter(po.b)
	if err != nil {
		return s.refuseExtended(err)
	}
	s.clearUnnamedPortal(b, name, &po)
	e := expect{kind: pgwire.Execute, sent: s.now()}
	if s.failed() {
		if po.p != nil && po.p.runs().Kind == stmt.KindRollbackTo {
			s.prepareExecute(&e, &po, b)
			s.blocked = b
		}
		s.forward(b, e, frame, len(frame))
		return nil
	}
	if po.p != nil {
		if err := s.refuseShared(po.p.runs()); err != nil {
			return s.refuseExtended(err)
		}
		s.ownSequences(po.p.runs(), b)
		s.prepareExecute(&e, &po, b)
	}
	s.stakes(b, &e)
	s.forward(b, e, frame, len(frame))
	if e.note != nil {
		s.blocked = b
	}
	return nil
}

// prepareExecute fills in what the execution of a statement does to the session. What only raises caution is folded when it
// is sent, for what follows in the batch must know; the rest when it succeeds.
func (s *session) prepareExecute(e *expect, po *portal, b *backend) {
	p, f := po.p, po.p.runs()
	e.facts, e.writes = f, po.writes
	e.note = s.noteFor(f, po.both, b, p.text, queryFrame(f, p))
	if e.note == nil && (e.writes || f.Counter == stmt.CountDDL || f.MayTouchSession || len(f.CreatesTemp) > 0) {
		s.succeeded(b, e)
		if e.writes && !s.journal.InTx() {
			s.batchWrote = true
		}
	}
	if s.set.LogStatement() {
		s.logStatement(p.text)
	}
	if s.perNode {
		s.logPerNode(b, 'E', p.text)
	}
	s.sendsText(b, f, p.text)
	b.remember(p.text)
	s.home.counters.Statement(b.node, f.Counter)
}

// closeObject is a Close message.
func (s *session) closeObject(frame []byte) error {
	what, name, ok := object(frame)
	if !ok {
		return s.malformed(frame, len(frame))
	}
	s.enterBatch()
	if err := s.barrier(); err != nil {
		return s.refuseExtended(err)
	}
	if what == 'P' {
		return s.closePortal(name, frame)
	}
	p := s.statement(name)
	if p == nil && len(name) > 0 && !(s.pooled && s.isOurName(string(name))) {
		return s.closeUnknown(frame)
	}
	if p != nil && p.shared != nil {
		return s.closeOurs(p)
	}
	lead := s.holder(p)
	if lead != nil && s.failed() {
		lead = nil // every server has its own state now; the client is told the session's
	}
	if lead != nil {
		if _, err := s.orWriter(lead); err != nil {
			return s.refuseExtended(err)
		}
		if lead.dropped { // it was held, and the statement is gone with the connection
			lead = nil
		}
	}
	if p != nil {
		for _, b := range s.backends {
			if b != lead && p.on(b) && p.name != "" {
				s.closeQuietly(b, p)
			}
		}
		s.name(p.name, nil)
	}
	if lead == nil {
		return s.local(closeComplete)
	}
	s.forward(lead, expect{kind: pgwire.Close, prep: p}, frame, len(frame))
	return nil
}

// closeOurs is a Close of a statement that servers have under a name of ours, where it stays.
func (s *session) closeOurs(p *prepared) error {
	for _, b := range s.backends {
		if p.underOwnName(b) {
			s.closeOwn(b, p.name)
		}
	}
	s.name(p.name, nil)
	return s.local(closeComplete)
}

// closeUnknown is a Close of a statement we know nothing of; a string of several statements may have prepared it.
func (s *session) closeUnknown(frame []byte) error {
	b := s.active
	if b == nil || !b.unsynced {
		b = nil
	}
	b, err := s.orWriter(b)
	if err != nil {
		return s.refuseExtended(err)
	}
	s.forward(b, expect{kind: pgwire.Close}, frame, len(frame))
	return nil
}

func (s *session) closePortal(name, frame []byte) error {
	po, known := s.portal(name)
	s.dropPortal(name)
	if known && po.b == nil {
		return s.local(closeComplete)
	}
	b := po.b
	if b == nil {
		b = s.active // a cursor, or nothing at all
	}
	b, err := s.orWriter(b)
	if err != nil {
		return s.refuseExtended(err)
	}
	s.forward(b, expect{kind: pgwire.Close}, frame, len(frame))
	return nil
}
