package proxy

import (
	"errors"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/pgwire"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
)

// collector gathers the rows of a question of ours.
type collector struct {
	take    func(columns [][]byte) error
	columns [][]byte
	err     error
	done    bool
	over    func() // called when the answer is complete; may be nil
}

func (c *collector) row(frame []byte) {
	c.columns = c.columns[:0]
	ok := pgwire.Columns(frame[pgwire.HeaderSize:], func(_ int, v []byte) { c.columns = append(c.columns, v) })
	if c.err == nil && ok {
		c.err = c.take(c.columns)
	}
}

// lookUp gathers what the catalogue says about the names in a statement, asking the node that takes writes on the client's own
// connection where the answer is not known: there its search path and its temporary tables count.
func (s *session) lookUp(in *route.Input) error {
	f := in.Subject()
	if f == nil {
		return nil
	}
	temp := s.policy.AsksTemp()
	now := s.t.Now()
	names, ok := s.temps.Look(f, temp, now)
	if ok {
		in.Names = route.Names(names)
		return nil
	}
	if s.state.IsFailed() {
		in.Names.Unknown = true
		return nil
	}
	ask := s.temps.Ask(f, temp, now)
	b, err := s.whoKnows()
	if err != nil {
		return err
	}
	if b.unsynced || s.active != nil && s.active.unsynced { // a question inside a batch would end its transaction
		in.Names.Unknown = true
		return nil
	}
	if sql := ask.SQL(); sql != "" {
		if err := s.ask(b, sql, ask.Row); err != nil {
			if s.end != nil || s.gone || !isRefusal(err) {
				return err
			}
			in.Names.Unknown = true
			return nil
		}
	}
	names, err = s.temps.Absorb(ask, !s.changedCatalog, now)
	if err != nil {
		s.logNames(err)
	}
	in.Names = route.Names(names)
	return nil
}

// whoKnows is the connection a question about names is asked on: the writer's or, where that node cannot be reached, any other's,
// whose catalogue is the same but for temporary tables, of which a session without a writer has none.
func (s *session) whoKnows() (*backend, error) {
	if s.cfg.RelationCache.RelcacheQueryTarget == conf.RelcacheLoadBalanceNode && !s.temps.TempPossible() &&
		!s.journal.InTx() && s.srv.store.Current().Live(s.in.L) {
		return s.backendOr(&route.Decision{Node: s.in.L})
	}
	if s.closed(s.writer()) && !s.temps.TempPossible() {
		if b, err := s.whoElseKnows(errDraining); err == nil || s.mustEndNow(err) || isOurs(err) {
			return b, err
		}
	}
	b, err := s.onWriter()
	if err == nil || !isUnreachable(err) && !errors.Is(err, errSeeking) && !errors.Is(err, errNoPrimary) {
		return b, err
	}
	return s.whoElseKnows(err)
}

// whoElseKnows is the connection to a node other than the one that takes writes; why is the error if there is none.
func (s *session) whoElseKnows(why error) (*backend, error) {
	v := s.srv.store.Current()
	for i := range v.Nodes {
		id := cluster.NodeID(i)
		if id == v.Writer() || !v.Live(id) || s.avoids(id) {
			continue
		}
		if b, err2 := s.backendFor(id); err2 == nil {
			return b, nil
		} else if s.mustEndNow(err2) || isOurs(err2) {
			return nil, err2
		}
	}
	return nil, why
}

// ask runs a question of ours on a server connection that owes nothing, and waits for the answer. It is asked within the
// client's transaction where that has reached the server, else outside: it must not be the query that comes before a SET TRANSACTION.
func (s *session) ask(b *backend, sql string, row func([][]byte) error) error {
	if b.mark.Joined() {
		s.bringUp(b, b.node == s.writer())
	}
	c := &collector{take: row}
	b.unnamed = nil
	b.dirty = true
	b.setQueued(pgwire.AppendQuery(b.queued(), sql))
	b.push(expect{kind: pgwire.Query, swallow: true, collect: c})
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, sql)
	}
	if err := s.pump(func() bool { return c.done }); err != nil {
		return err
	}
	return c.err
}

func isRefusal(err error) bool {
	var refusal *serverRefusal
	return errors.As(err, &refusal)
}

// afterDDL notes that a statement may have changed what the catalogue says.
func (s *session) afterDDL(f *stmt.Facts) {
	if len(f.CreatesTemp) > 0 || len(f.DropsTables) > 0 || f.MayTouchSession || f.Multi || f.Kind == stmt.KindUnparsed {
		s.temps.Touched()
	}
	if len(f.CreatesTemp) > 0 {
		s.temps.Created()
	}
	if f.Kind == stmt.KindUnparsed || f.MayTouchSession && f.Setting == nil && callsSetConfig(f) {
		s.pinned = true // what it sets is known to this server alone
	}
	if f.Counter == stmt.CountDDL || f.Multi || f.Kind == stmt.KindUnparsed {
		s.temps.Forget()
		s.changedCatalog = s.journal.InTx()
	}
}

func callsSetConfig(f *stmt.Facts) bool {
	for _, n := range f.Functions {
		if n.Name == "set_config" {
			return true
		}
	}
	return false
}
