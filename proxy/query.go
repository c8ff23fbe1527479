package proxy

import (
	"errors"
	"slices"

	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// offloadParse is the length of a text from which the grammar may take longer than a loop can be kept waiting.
const offloadParse = 4 << 10

// analyze returns a statement's facts.
func (s *session) analyze(text []byte) *stmt.Facts {
	f, ok := s.home.analyzer.Lookup(text)
	switch {
	case ok:
	case len(text) < offloadParse:
		f = s.home.analyzer.Parse(text)
	default:
		f = s.parseAside(text)
	}
	if f.Kind == stmt.KindUnparsed {
		s.logUnparsable(text)
	}
	return f
}

// parseAside has the grammar look at a long text off the loop.
func (s *session) parseAside(text []byte) (f *stmt.Facts) {
	s.t.Offload(func() { f = s.home.analyzer.Parse(text) })
	return f
}

// query is a simple query.
func (s *session) query(frame []byte) error {
	text := frame[pgwire.HeaderSize:]
	if len(text) == 0 || text[len(text)-1] != 0 {
		return s.run(unparsed, nil, frame, len(frame)) // the server says what is wrong with it
	}
	text = text[:len(text)-1]
	if s.set.LogStatement() {
		s.logStatement(text)
	}
	if s.batchUsed { // PostgreSQL takes a Query in the middle of an extended batch; the servers' order has to be kept
		if err := s.settle(); err != nil || s.skipping {
			return err
		}
	}
	s.unnamed, s.noName = nil, portal{} // a simple query destroys the unnamed statement and portal
	f := s.analyze(text)
	switch {
	case f.Kind == stmt.KindEmpty && s.state.IsFailed():
		s.client.setQueued(pgwire.AppendReady(pgwire.AppendSimple(s.client.queued(), pgwire.EmptyQueryResponse), 'E'))
		return nil
	case f.Kind == stmt.KindPool:
		return s.poolQuery(f)
	case f.Multi:
	case signalsOurs(f.Signal):
		return s.signalSimple(f.Signal)
	case s.answersListen(f):
		return s.listenSimple(f)
	case f.Kind == stmt.KindBegin && !s.anyUnsynced():
		if done, err := s.beginSimple(f, text); done {
			return err
		}
	case f.Kind == stmt.KindCommit, f.Kind == stmt.KindRollback, f.Kind == stmt.KindPrepareTransaction && s.state.IsFailed():
		if done, err := s.endSimple(f, text); done {
			return err
		}
	}
	return s.run(f, text, frame, len(frame))
}

// run routes a simple query and sends it.
func (s *session) run(f *stmt.Facts, text, frame []byte, size int) error {
	d, p, b, err := s.place(f, text)
	if err == nil {
		err = s.refuseShared(f)
	}
	if err != nil {
		if b := s.failedBackend(); b != nil && errors.Is(err, errFailedTransaction) {
			s.runFailed(b, f, frame, size)
			return nil
		}
		s.skipRest(frame, size)
		return s.refuse(err)
	}
	s.activate(b)
	s.bringUp(b, b.node == s.in.View.Writer())
	if p != nil { // EXECUTE or DEALLOCATE of it
		s.ensure(p, b)
	}
	if old := s.prepareClash(f, b); old != nil {
		s.ensure(old, b)
	}
	s.ensureNamed(f, b)
	if f.Multi && f.MultiState || f.Kind == stmt.KindUnparsed && b.owner != 0 {
		s.settleOn(b, text)
	}
	b.unnamed = nil // a simple query destroys the unnamed statement
	s.ownSequences(f, b)
	e := expect{kind: pgwire.Query, facts: f, writes: d.Writes, note: s.noteFor(f, d.Both, b, text, frame)}
	s.stakes(b, &e)
	s.sendsText(b, f, text)
	s.measure(&e, b, d.Reason.Code)
	b.push(e)
	if s.perNode {
		s.logPerNode(b, 'Q', text)
	}
	b.remember(text)
	s.home.counters.Statement(b.node, f.Counter)
	s.sendFrame(b, frame, size)
	s.owed++
	return nil
}

// ensureNamed prepares on b what the statement executes inside itself or, where it reads the list of prepared statements or calls
// what may execute any, all of them.
func (s *session) ensureNamed(f *stmt.Facts, b *backend) {
	if len(s.named) == 0 {
		return
	}
	for _, name := range f.Executes {
		if p := s.named[name]; p != nil {
			s.ensure(p, b)
		}
	}
	if !f.MayTouchSession && !listsPrepared(f) {
		return
	}
	for _, p := range s.named {
		if p.bySQL {
			s.ensure(p, b)
		}
	}
}

func listsPrepared(f *stmt.Facts) bool {
	return slices.ContainsFunc(f.Relations, func(n stmt.Name) bool { return n.Name == "pg_prepared_statements" })
}

// decide asks route where a statement goes; the answer is Send or Hold. p is the prepared statement an EXECUTE or DEALLOCATE names.
func (s *session) decide(f *stmt.Facts, text []byte) (d route.Decision, p *prepared, err error) {
	in := &s.in
	in.Facts = f
	s.look()
	in.Gauges = s.srv.store.Gauges()
	in.Policy = s.policy
	in.Prepared, in.PreparedNode = nil, cluster.NoNode
	in.Names = route.Names{}
	in.Text = ""
	if s.policy.NeedsText() {
		in.Text = string(text)
	}
	if f.Kind == stmt.KindExecute || f.Kind == stmt.KindDeallocate && f.Name != "" {
		if p = s.named[f.Name]; p != nil {
			in.Prepared, in.PreparedNode = p.facts, p.node
		}
	}
	in.Dice = s.home.dice.Float64()
	if route.NeedsNames(in) || s.pooled && asksVolatile(in.Subject()) {
		if err := s.lookUp(in); err != nil {
			return d, p, err
		}
	}
	if s.flight.lost != nil {
		if err := s.vet(in); err != nil {
			return d, p, err
		}
	}
	d = route.Decide(in)
	switch d.Action {
	case route.Send:
	case route.Hold:
		return d, p, nil
	default:
		return d, p, s.refusal(&d)
	}
	if d.ChoseL {
		in.L = d.L
	}
	if s.mustStay(f, &d, in.View) {
		d.Node = in.View.Writer()
	}
	if node, ok := s.boundTo(f); ok {
		d.Node = node
	}
	if pid := s.signalledPID(f); pid > 0 {
		if node, ok := s.srv.nodeOfPID(s.t, uint32(pid)); ok {
			d.Node = node
		}
	}
	return d, p, s.gate(&d) // what has just been changed
}

// boundTo is the node that has the portal a FETCH or CLOSE names, or the prepared statement whose name a PREPARE repeats.
func (s *session) boundTo(f *stmt.Facts) (cluster.NodeID, bool) {
	switch f.Kind {
	case stmt.KindFetch, stmt.KindClosePortal:
		if po := s.portals[f.Name]; po != nil && po.b != nil {
			return po.b.node, true
		}
	case stmt.KindPrepare:
		if b := s.holder(s.named[f.Name]); b != nil {
			return b.node, true
		}
	case stmt.KindSet:
		if f.Setting == nil || !f.Setting.Transaction || f.Modes.Isolation == "" {
			break
		}
		for _, b := range s.backends { // a standby has joined to read something: it tells that it is too late
			if b.mark.Joined() && b.node != s.writer() {
				return b.node, true
			}
		}
	}
	return cluster.NoNode, false
}

func isUnreachable(err error) bool {
	var unreachable *pool.ConnectError
	return errors.As(err, &unreachable)
}

// refusesUs reports whether a server answered, but does not let this user in now (starting up, full, not in its pg_hba.conf, no agreement on TLS).
func refusesUs(err error) bool {
	var refused *pool.ServerError
	var tls *pool.TLSError
	return errors.As(err, &refused) || errors.As(err, &tls)
}

// backendOr returns a connection to the node or, where it cannot be had and nothing obliges the statement to run there,
// to another one: a read is not refused for that. The node is left alone for a while.
func (s *session) backendOr(d *route.Decision) (*backend, error) {
	b, err := s.backendFor(d.Node)
	if err == nil {
		return b, nil
	}
	return s.elsewhere(d, err)
}

func (s *session) elsewhere(d *route.Decision, err error) (*backend, error) {
	writer := s.writer()
	unreachable, busy := isUnreachable(err), isBusy(err)
	if !unreachable && !busy && !refusesUs(err) || d.Node == writer && !balanced(d.Reason.Code) {
		return nil, err
	}
	switch {
	case busy:
	case unreachable:
		s.logUnreachable(d.Node, err)
		s.srv.avoid(d.Node, s.t.Now())
	default:
		s.logUnreachable(d.Node, err)
		s.shun(d.Node)
	}
	if s.in.L == d.Node && !busy {
		s.in.L = cluster.NoNode // to be chosen again
	}
	v := s.srv.store.Current()
	closed := s.closed(writer)
	for i := -1; i < len(v.Nodes); i++ { // the writer first, which may answer everything
		id := cluster.NodeID(i)
		if i < 0 {
			id = writer
		} else if id == writer {
			continue
		}
		if id == d.Node || !v.Live(id) || s.avoids(id) || closed && id == writer {
			continue
		}
		if b, err := s.backendFor(id); err == nil {
			return b, nil
		} else if s.mustEndNow(err) || isOurs(err) {
			return nil, err
		}
	}
	if closed {
		return nil, errDraining
	}
	return nil, err
}

// isOurs reports an error that is about the session, not about the node that was to be connected to: trying another one would hide that
// a transaction was lost.
func isOurs(err error) bool {
	var ce *clientError
	return errors.As(err, &ce)
}

// balanced reports whether a decision was a choice among nodes that would all do.
func balanced(why route.ReasonCode) bool {
	switch why {
	case route.ReasonLoadBalanceNode, route.ReasonDice, route.ReasonRedirect, route.ReasonRedirectStandby,
		route.ReasonRedirectRest, route.ReasonLowestDelay, route.ReasonNoWeight:
		return true
	}
	return false
}

// shun leaves a node alone for a while that does not let this session in.
func (s *session) shun(n cluster.NodeID) {
	if s.shunned == nil {
		s.shunned = make(map[cluster.NodeID]shun)
	}
	s.shunned[n] = shun{until: s.t.Now().Add(shunTime), epoch: s.srv.store.Current().Nodes[n].Epoch}
}

func (s *session) avoids(n cluster.NodeID) bool {
	if n == cluster.NoNode {
		return false
	}
	if len(s.shunned) > 0 && s.shunned[n].holds(s.srv.store.Current(), n, s.t.Now()) {
		return true
	}
	return s.srv.avoided(n, s.t.Now())
}

// mustStay overrides a read that would leave the writer: inside an extended batch that has written (one transaction
// until Sync), in a transaction no other server can join any more, or in a session whose settings only the writer has.
func (s *session) mustStay(f *stmt.Facts, d *route.Decision, v *cluster.View) bool {
	if d.Node == v.Writer() {
		return false
	}
	if s.ownSettings && f.Kind == stmt.KindShow {
		return true
	}
	return s.batchWrote || s.journal.Full() || s.pinned || s.avoids(d.Node)
}

// refusal is the error for a statement that is not sent.
func (s *session) refusal(d *route.Decision) error {
	if d.Reason.Code == route.ReasonFailedTransaction {
		return errFailedTransaction
	}
	return s.noWriter()
}

// activate makes b the server whose answers the client reads next.
func (s *session) activate(b *backend) { s.active = b }

// noWriter is why no node takes writes now.
func (s *session) noWriter() error {
	switch v := s.srv.store.Current(); {
	case v.Seeking:
		return errSeeking
	case v.Main() != cluster.NoNode:
		return errNoPrimary
	default:
		return noNode(v)
	}
}

// onWriter returns the connection to the node that takes writes.
func (s *session) onWriter() (*backend, error) {
	w := s.writer()
	if w == cluster.NoNode {
		return nil, s.noWriter()
	}
	return s.backendFor(w)
}

// bringUp sends a server what it lacks of the session's state, ahead of the statement that follows.
func (s *session) bringUp(b *backend, writer bool) {
	if !s.journal.Behind(&b.mark) {
		return
	}
	s.preludes = s.journal.Lacks(&b.mark, writer, s.preludes[:0])
	for i := range s.preludes {
		s.inject(b, &s.preludes[i])
	}
}

// inject sends a statement of ours ahead of the client's.
func (s *session) inject(b *backend, st *vsession.Statement) {
	if st.Effect == vsession.DiscardAll {
		s.forgetPrepared(b)
	}
	b.unnamed = nil
	b.dirty = true
	b.setQueued(pgwire.AppendQuery(b.queued(), st.Text))
	b.push(expect{kind: pgwire.Query, swallow: true, prelude: true, begins: st.Begins})
	if s.perNode { // it is the client's own statement, which reaches this server only now
		s.logPerNode(b, 'Q', []byte(st.Text))
	}
}

// injectQuietly sends a statement whose failure does not matter to what follows.
func (s *session) injectQuietly(b *backend, text string) {
	b.unnamed = nil
	b.dirty = true
	b.setQueued(pgwire.AppendQuery(b.queued(), text))
	b.push(expect{kind: pgwire.Query, swallow: true})
	if s.perNode {
		s.logPerNode(b, 'Q', []byte(text))
	}
}
