package proxy

import (
	"encoding/binary"

	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/proxy/show"
	"gopgpool/proxy/stmt"
)

// portal is a bound statement and the server that has it.
type portal struct {
	b            *backend // nil: the proxy answers it
	p            *prepared
	writes, both bool // of its routing decision
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
	if old := s.named[string(name)]; old != nil && len(name) > 0 {
		return s.parseAgain(old, frame, size)
	}
	if size > len(frame) {
		return s.parseBig(string(name), frame, size)
	}
	text, _, ok := pgwire.CString(rest)
	if !ok {
		return s.malformed(frame, size)
	}
	f := s.analyze(text)
	p := s.newPrepared(string(name), f, frame, text)
	if s.answersItself(f) {
		p.local = true
		return s.local(pgwire.AppendSimple(nil, pgwire.ParseComplete))
	}
	d, _, err := s.decide(f, text, true)
	if err != nil {
		s.unparse(p, nil)
		return s.refuseExtended(err)
	}
	b, err := s.target(d.Node)
	if err != nil {
		s.unparse(p, nil)
		return s.refuseExtended(err)
	}
	p.node, p.batch, p.stateVer = b.node, s.batch, s.stateVer
	p.writes, p.both, p.epoch = d.Writes, d.Both, s.in.View.Generation
	s.forward(b, expect{kind: pgwire.Parse, facts: f, prep: p}, frame, size)
	p.placed(b)
	if s.perNode {
		s.logPerNode(b, 'P', text)
	}
	return nil
}

// parseBig is a statement too long to be looked at: it lives where writes go and nowhere else.
func (s *session) parseBig(name string, frame []byte, size int) error {
	b, err := s.target(s.writer())
	if err != nil {
		s.client.skip = size - len(frame)
		return s.refuseExtended(err)
	}
	p := s.newPrepared(name, unparsed, nil, nil)
	p.lost, p.node, p.batch = true, b.node, s.batch
	s.forward(b, expect{kind: pgwire.Parse, facts: unparsed, prep: p}, frame, size)
	p.placed(b)
	return nil
}

// parseAgain is a Parse of a name in use: a server that has it gives the error.
func (s *session) parseAgain(old *prepared, frame []byte, size int) error {
	for _, b := range s.backends {
		if old.on(b) {
			if err := s.switchTo(b); err != nil {
				return s.refuseExtended(err)
			}
			s.forward(b, expect{kind: pgwire.Parse}, frame, size)
			return nil
		}
	}
	return s.refuseExtended(&clientError{Code: "42P05", Message: `prepared statement "` + old.name + `" already exists`})
}

// newPrepared registers a statement. The unnamed one is replaced in place, so that parsing it allocates nothing.
func (s *session) newPrepared(name string, f *stmt.Facts, frame, text []byte) *prepared {
	at := pgwire.HeaderSize + len(name) + 1 // where the text stands in the frame
	if name != "" {
		p := &prepared{name: name, frame: append([]byte(nil), frame...), facts: f}
		p.setText(at, len(text))
		s.setNamed(name, p)
		return p
	}
	p := s.spare
	if p == nil {
		p = &prepared{}
		s.spare = p
	}
	s.unnamed = p
	*p = prepared{frame: append(p.frame[:0], frame...), facts: f, ver: p.ver + 1}
	p.setText(at, len(text))
	return p
}

func (p *prepared) setText(at, n int) {
	if len(p.frame) >= at+n {
		p.text = p.frame[at : at+n]
	}
}

// unparse forgets a statement whose Parse failed.
func (s *session) unparse(p *prepared, b *backend) {
	if b != nil {
		p.gone(b)
	}
	if len(p.at) == 0 && p.name != "" && s.named[p.name] == p {
		delete(s.named, p.name)
	}
	if p.name == "" && s.unnamed == p {
		s.unnamed = nil
	}
}

func (s *session) statement(name []byte) *prepared {
	if len(name) == 0 {
		return s.unnamed
	}
	return s.named[string(name)]
}

// answersItself reports whether the proxy answers a statement until it is executed, or altogether.
func (s *session) answersItself(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindPool, stmt.KindCommit, stmt.KindRollback:
		return true
	case stmt.KindBegin:
		return true
	}
	return false
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
	if p != nil && p.local {
		s.setPortal(portalName, portal{p: p})
		return s.local(pgwire.AppendSimple(nil, pgwire.BindComplete))
	}
	po := portal{p: p}
	node := s.writer() // which gives the error, if there is no such statement
	if p != nil {
		var err error
		if node, err = s.decideBind(p, &po); err != nil {
			s.skipRest(frame, size)
			return s.refuseExtended(err)
		}
	}
	if old := s.portals[string(portalName)]; old != nil && old.b != nil && s.journal.InTx() {
		node = old.b.node // the name is taken there: the server gives the error
	}
	b, err := s.target(node)
	if err != nil {
		s.skipRest(frame, size)
		return s.refuseExtended(err)
	}
	if p != nil {
		s.ensureExtended(p, b)
	} else if len(name) == 0 && b.unnamed != nil {
		b.unnamed = nil // destroyed by a query elsewhere
		s.closeQuietly(b, "")
	}
	po.b = b
	s.setPortal(portalName, po)
	s.forward(b, expect{kind: pgwire.Bind}, frame, size)
	if s.perNode && p != nil {
		s.logPerNode(b, 'B', p.text)
	}
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

// decideBind routes a statement at Bind. One that was parsed just before, with nothing in between, stays where it is.
func (s *session) decideBind(p *prepared, po *portal) (cluster.NodeID, error) {
	if p.lost {
		po.writes = true
		return p.node, nil
	}
	if p.batch == s.batch && p.stateVer == s.stateVer && p.epoch == s.srv.store.Current().Generation {
		po.writes, po.both = p.writes, p.both
		return p.node, nil
	}
	d, _, err := s.decide(p.runs(), p.text, true)
	po.writes, po.both = d.Writes, d.Both
	return d.Node, err
}

func (s *session) setPortal(name []byte, p portal) {
	if len(name) == 0 {
		s.noName = p
		return
	}
	if s.portals == nil {
		s.portals = make(map[string]*portal)
	}
	q := p
	s.portals[string(name)] = &q
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
	var p *prepared
	var b *backend
	if what == 'S' {
		kind = pgwire.Describe
		p = s.statement(name)
		b = s.holder(p)
	} else if po, ok := s.portal(name); ok {
		p, b = po.p, po.b
	}
	if p != nil && p.local {
		return s.local(s.describeLocal(p, what == 'S'))
	}
	b, err := s.orWriter(b)
	if err != nil {
		return s.refuseExtended(err)
	}
	if p != nil && what == 'S' {
		s.ensureExtended(p, b)
	}
	s.forward(b, expect{kind: kind}, frame, len(frame))
	if s.perNode {
		s.logPerNode(b, pgwire.Describe, nil)
	}
	return nil
}

// holder is a server that has a statement, the active one if possible.
func (s *session) holder(p *prepared) *backend {
	if p == nil {
		return nil
	}
	if s.active != nil && p.on(s.active) {
		return s.active
	}
	for _, b := range s.backends {
		if p.on(b) {
			return b
		}
	}
	return nil
}

// orWriter switches to b, or to the connection to the node that takes writes.
func (s *session) orWriter(b *backend) (*backend, error) {
	if b == nil {
		return s.target(s.writer())
	}
	return b, s.switchTo(b)
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
	if known && po.p != nil && po.p.local {
		return s.executeLocal(po.p)
	}
	b, err := s.orWriter(po.b)
	if err != nil {
		return s.refuseExtended(err)
	}
	e := expect{kind: pgwire.Execute}
	if po.p != nil {
		s.prepareExecute(&e, &po, b, binary.BigEndian.Uint32(rest) == 0)
	}
	if e.facts != nil {
		s.spread(e.facts, b)
	}
	s.forward(b, e, frame, len(frame))
	if e.note != nil {
		s.blocked = b
	}
	return nil
}

// prepareExecute fills in what the execution of a statement does to the session. What only raises caution is folded when it
// is sent, for what follows in the batch must know; the rest when it succeeds.
func (s *session) prepareExecute(e *expect, po *portal, b *backend, whole bool) {
	p, f := po.p, po.p.runs()
	e.facts, e.writes = f, po.writes
	if whole {
		e.note = s.noteFor(f, po.both, b, p.text, queryFrame(f, p))
	}
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
	b.remember(p.text)
	s.home.counters.Statement(b.node, f.Counter)
}

// queryFrame is what has to be sent to repeat a SQL PREPARE that came by the extended protocol.
func queryFrame(f *stmt.Facts, p *prepared) []byte {
	if f.Kind != stmt.KindPrepare {
		return nil
	}
	return pgwire.AppendQuery(nil, string(p.text))
}

// executed is the end of an Execute that succeeded.
func (s *session) executed(b *backend, e *expect) error {
	if s.blocked == b {
		s.blocked = nil
	}
	if e.note == nil || e.facts == nil {
		return nil
	}
	if e.note.release != nil {
		e.note.release()
	}
	if e.note.journal != nil && !s.journal.InTx() { // it lasts if the batch, which is one transaction, succeeds
		s.batchWrote = true
		s.batchNotes = append(s.batchNotes, *e)
		return nil
	}
	s.succeeded(b, e)
	switch {
	case e.note.end != endNone:
		s.finishExtended(b, e)
	case e.facts.Kind == stmt.KindBegin:
		s.begin(e.facts, []byte(e.note.begin))
		s.journal.BeganOn(&b.mark, s.journal.LastBegin())
	}
	return nil
}

// finishExtended is the end of a transaction by the extended protocol.
func (s *session) finishExtended(b *backend, e *expect) {
	if e.swallow || !s.journal.InTx() {
		return
	}
	commit := e.note.end == endCommit
	if e.facts.Kind == stmt.KindPrepareTransaction {
		s.endOthers(b, true)
	}
	var on *backend
	if e.facts.Chain {
		on = b
	}
	s.endTransaction(commit, e.facts.Chain, on)
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
	lead := s.holder(p)
	if p != nil {
		for _, b := range s.backends {
			if b != lead && p.on(b) && p.name != "" {
				s.closeQuietly(b, p.name)
			}
		}
		s.unprepare(p)
	}
	if lead == nil {
		return s.local(pgwire.AppendSimple(nil, pgwire.CloseComplete))
	}
	if err := s.switchTo(lead); err != nil {
		return s.refuseExtended(err)
	}
	s.forward(lead, expect{kind: pgwire.Close}, frame, len(frame))
	return nil
}

// unprepare forgets a statement everywhere.
func (s *session) unprepare(p *prepared) {
	for _, b := range s.backends {
		p.gone(b)
	}
	if p.name == "" {
		s.unnamed = nil
		return
	}
	delete(s.named, p.name)
}

// closeQuietly drops a statement on a server that is not the one answering.
func (s *session) closeQuietly(b *backend, name string) {
	b.setQueued(pgwire.AppendClose(b.queued(), 'S', name))
	b.push(expect{kind: pgwire.Close, swallow: true})
	b.unsynced = true
	b.dirty = true
}

func (s *session) closePortal(name, frame []byte) error {
	po, known := s.portal(name)
	if len(name) == 0 {
		s.noName = portal{}
	} else {
		delete(s.portals, string(name))
	}
	if known && po.b == nil {
		return s.local(pgwire.AppendSimple(nil, pgwire.CloseComplete))
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

// sync is a Sync message: every server used since the last one gets it, and the active one answers the client.
func (s *session) sync() error {
	s.batch++
	s.batchUsed, s.batchWrote, s.skipping = false, false, false
	s.blocked = nil
	lead := s.active
	if lead != nil && !lead.unsynced {
		lead = nil
	}
	for _, b := range s.backends {
		if b.unsynced && lead == nil {
			lead = b
		}
	}
	if lead == nil {
		s.client.setQueued(pgwire.AppendReady(s.client.queued(), s.txByte()))
		s.lastSeen = s.t.Now()
		return nil
	}
	for _, b := range s.backends {
		if b.unsynced {
			b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Sync))
			b.unsynced = false
			b.push(expect{kind: pgwire.Sync, swallow: b != lead})
		}
	}
	s.owed++
	return nil
}

// flush is a Flush message.
func (s *session) flush() error {
	if s.active != nil && s.active.unsynced {
		s.active.setQueued(pgwire.AppendSimple(s.active.queued(), pgwire.Flush))
	}
	return nil
}

// enterBatch notes that an extended batch is under way.
func (s *session) enterBatch() { s.batchUsed = true }

// target is the connection to a node, brought up to the session's state and made the active one.
func (s *session) target(node cluster.NodeID) (*backend, error) {
	if node == cluster.NoNode {
		return nil, errNoNode
	}
	b, err := s.backendOrWriter(node)
	if err != nil {
		return nil, err
	}
	if err := s.switchTo(b); err != nil {
		return nil, err
	}
	s.bringUp(b, b.node == s.srv.store.Current().Writer())
	return b, nil
}

// switchTo makes b the server whose answers the client reads next. What the last one still owes comes first: answers must
// reach the client in the order of its messages.
func (s *session) switchTo(b *backend) error {
	if s.active != b && s.active != nil {
		if err := s.drain(s.active); err != nil {
			return err
		}
		if s.skipping {
			return errBatchFailed
		}
	}
	s.active = b
	return nil
}

// drain waits until a server has answered all it was sent.
func (s *session) drain(b *backend) error {
	if b.outstanding() == 0 {
		return nil
	}
	if b.unsynced {
		b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Flush))
	}
	return s.pump(func() bool { return b.outstanding() == 0 })
}

// barrier waits for the answer to a statement that changes the session, before anything else is decided.
func (s *session) barrier() error {
	b := s.blocked
	if b == nil {
		return nil
	}
	s.blocked = nil
	if err := s.drain(b); err != nil {
		return err
	}
	if s.skipping {
		return errBatchFailed
	}
	return nil
}

// settle ends an extended batch the client has not ended with Sync, before a simple query. PostgreSQL runs the query within
// the same state; all that matters to the client is that answers come in order.
func (s *session) settle() error {
	s.blocked = nil
	if s.active != nil {
		if err := s.drain(s.active); err != nil {
			return err
		}
	}
	s.batchUsed = false
	return nil
}

// forward sends a message of the client in the extended protocol.
func (s *session) forward(b *backend, e expect, frame []byte, size int) {
	b.push(e)
	b.unsynced, b.dirty = true, true
	if size > len(frame) {
		b.send(frame)
		s.streamTo = b
		return
	}
	b.queue2(frame)
}

// queue2 adds to what the next flush writes, and writes at once when there is much.
func (b *backend) queue2(frame []byte) {
	b.side.queue(frame)
	if b.backlog() > bufferSize {
		b.side.flush()
	}
}

// ensureExtended prepares a statement on a server that lacks it, ahead of its use in a batch.
func (s *session) ensureExtended(p *prepared, b *backend) {
	if p.on(b) || p.frame == nil {
		return
	}
	if p.bySQL {
		s.ensure(p, b)
		return
	}
	b.queue2(p.frame)
	b.unsynced, b.dirty = true, true
	b.push(expect{kind: pgwire.Parse, swallow: true, prep: p})
	p.placed(b)
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, string(p.text))
	}
}

// local sends an answer of our own, in its place among the servers' answers.
func (s *session) local(answer []byte) error {
	if s.active != nil {
		if err := s.drain(s.active); err != nil {
			return err
		}
		if s.skipping {
			return nil
		}
	}
	s.client.queue(answer)
	return nil
}

// describeLocal describes a statement the proxy answers.
func (s *session) describeLocal(p *prepared, statement bool) []byte {
	var out []byte
	if statement {
		out = pgwire.AppendBody(out, pgwire.ParameterDescription, []byte{0, 0})
	}
	if p.facts.Kind == stmt.KindPool {
		if columns := s.poolColumns(p.facts); len(columns) > 0 {
			return pgwire.AppendRowDescription(out, columns)
		}
	}
	return pgwire.AppendSimple(out, pgwire.NoData)
}

// executeLocal executes a statement the proxy has answered so far: its own commands, and transaction control.
func (s *session) executeLocal(p *prepared) error {
	f := p.facts
	if s.set.LogStatement() {
		s.logStatement(p.text)
	}
	switch f.Kind {
	case stmt.KindPool:
		r, err := s.poolCommand(f)
		if err != nil {
			return s.refuseExtended(err)
		}
		return s.local(appendRows(nil, r))
	case stmt.KindBegin:
		return s.beginExtended(p)
	}
	return s.endExtended(p)
}

// beginExtended is BEGIN by the extended protocol. As in simple queries servers learn of it later, except where statements of
// the same batch have reached one: they belong to the transaction.
func (s *session) beginExtended(p *prepared) error {
	if s.journal.InTx() || s.anyUnsynced() {
		return s.executeOn(s.writer(), p, &note{begin: string(p.text)})
	}
	s.begin(p.facts, p.text)
	return s.local(pgwire.AppendTag(nil, beginTag(p.facts)))
}

func (s *session) anyUnsynced() bool {
	for _, b := range s.backends {
		if b.unsynced {
			return true
		}
	}
	return false
}

// endExtended is COMMIT or ROLLBACK by the extended protocol.
func (s *session) endExtended(p *prepared) error {
	f := p.facts
	if !s.journal.InTx() {
		return s.executeOn(s.writer(), p, nil)
	}
	if s.active != nil {
		if err := s.drain(s.active); err != nil || s.skipping {
			return err
		}
	}
	commit := f.Kind == stmt.KindCommit && !s.state.IsFailed()
	lead := s.endLead()
	if lead == nil {
		s.endTransaction(commit, f.Chain, nil)
		tag := "ROLLBACK"
		if commit {
			tag = "COMMIT"
		}
		return s.local(pgwire.AppendTag(nil, tag))
	}
	s.endOthers(lead, commit)
	end := endRollback
	if commit {
		end = endCommit
	}
	if f.Kind == stmt.KindCommit && !commit && lead.status != 'E' {
		p = &prepared{facts: f, text: []byte("ROLLBACK"), ver: p.ver + 1}
		p.frame = pgwire.AppendParse(nil, "", "ROLLBACK")
	}
	return s.executeOn(lead.node, p, &note{end: end})
}

// executeOn runs a statement without parameters that the client believes to be parsed and bound.
func (s *session) executeOn(node cluster.NodeID, p *prepared, n *note) error {
	b, err := s.target(node)
	if err != nil {
		return s.refuseExtended(err)
	}
	s.ensureExtended(p, b)
	b.queue2(pgwire.AppendBind(nil, "", p.name))
	b.push(expect{kind: pgwire.Bind, swallow: true})
	b.queue2(pgwire.AppendExecute(nil, ""))
	b.push(expect{kind: pgwire.Execute, facts: p.facts, note: n})
	b.unsynced, b.dirty = true, true
	b.remember(p.text)
	s.home.counters.Statement(b.node, p.facts.Counter)
	if s.perNode {
		s.logPerNode(b, 'E', p.text)
	}
	if n != nil {
		s.blocked = b
	}
	return nil
}

// appendRows appends the rows of an answer of ours.
func appendRows(dst []byte, r *show.Result) []byte {
	for _, row := range r.Rows {
		dst = pgwire.AppendDataRow(dst, row)
	}
	return pgwire.AppendTag(dst, r.Tag)
}
