package proxy

import (
	"slices"

	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
)

// This file is about the settings servers report: the client sees one truth though several servers speak to it.

// parameterStatus keeps the record of reported settings current. The client hears of what its statements change, from the node that
// answers them, and of unasked changes from the primary.
func (s *session) parameterStatus(b *backend, e *expect, frame []byte) (bool, error) {
	name, rest, ok := pgwire.CString(frame[pgwire.HeaderSize:])
	value, _, ok2 := pgwire.CString(rest)
	if !ok || !ok2 {
		return false, s.nonsense(b, pgwire.ParameterStatus)
	}
	b.c.SetParam(string(name), string(value))
	switch {
	case s.pooled && e != nil && e.facts != nil && goesBack(e.facts):
		s.unsettled = true // what it goes back to here is not what the session began with
		return false, nil
	case e == nil && b != s.primaryBackend(), e != nil && e.swallow:
		return false, nil
	case ofServer(string(name)) && b != s.primaryBackend():
		return false, nil
	}
	return s.tell(string(name), string(value)) || !s.pooled, nil
}

// ofServer reports a parameter that tells about the server and not about the session: it is the primary's that counts.
func ofServer(name string) bool {
	return name == "server_version" || name == "in_hot_standby" || name == "server_encoding" || name == "integer_datetimes"
}

// goesBack reports the statements that set a parameter back to what the server connection began with.
func goesBack(f *stmt.Facts) bool {
	return f.Kind == stmt.KindReset || f.Kind == stmt.KindDiscard || f.Setting != nil && f.Setting.Default || f.Multi
}

// settleParams has a connection whose parameters have gone back follow the session's own, and tells the client what has come of it.
func (s *session) settleParams() {
	b := s.active
	switch {
	case !s.unsettled || b != nil && b.outstanding() > 0:
	case b == nil || s.failed():
		s.unsettled = false
	case s.journal.Behind(&b.mark):
		s.bringUp(b, b.node == s.writer())
	default:
		s.unsettled = false
		s.tellChanges(b)
	}
}

// settleReady does what has to come before the ReadyForQuery that was kept for it, and passes that on.
func (s *session) settleReady() error {
	if s.owed > 0 || s.batchUsed {
		return nil
	}
	s.settleParams()
	if s.readyKept == 0 || s.unsettled {
		return nil
	}
	if s.hears.notified {
		if err := s.ownNotifications(); err != nil {
			return err
		}
		if err := s.hear(); err != nil {
			return err
		}
	}
	s.client.queue(pgwire.AppendReady(nil, s.readyKept))
	s.readyKept = 0
	return nil
}

// keepsReady keeps a ReadyForQuery for the client until its parameters are right again and its own notifications are there.
func (s *session) keepsReady(typ byte, frame []byte) bool {
	if typ != pgwire.ReadyForQuery || s.owed > 0 || !s.unsettled && (!s.hears.notified || frame[5] != 'I') {
		return false
	}
	s.readyKept = frame[5]
	return true
}

// tell notes what the client is told of a parameter; it reports false if that is nothing new.
func (s *session) tell(name, value string) bool {
	for i := range s.told {
		if s.told[i].Name != name {
			continue
		}
		if s.told[i].Value == value {
			return false
		}
		s.ownTold()
		s.told[i].Value = value
		return true
	}
	s.ownTold()
	s.told = append(s.told, pgwire.Param{Name: name, Value: value})
	return true
}

// ownTold makes told the session's own: at first it is shared with other sessions that logged in alike.
func (s *session) ownTold() {
	if !s.toldOwn {
		s.told, s.toldOwn = slices.Clone(s.told), true
	}
}

// tellChanges tells the client of settings that have come to differ on the connection without its hearing of it: by what was sent
// ahead of its statement, or because the statement ran on another connection than the last. It is called before a ReadyForQuery.
func (s *session) tellChanges(b *backend) {
	if b.c.ParamsVersion() == s.toldVersion {
		return
	}
	s.toldVersion = b.c.ParamsVersion()
	for _, p := range b.c.Params {
		if !ofServer(p.Name) && s.tell(p.Name, p.Value) {
			s.client.queue(pgwire.AppendParameterStatus(nil, p.Name, p.Value))
		}
	}
}

func (s *session) primaryBackend() *backend { return s.find(s.writer()) }
