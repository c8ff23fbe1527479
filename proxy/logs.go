package proxy

import (
	"context"
	"errors"
	"net"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// logConnection is log_connections; with log_hostname the client's name is looked up first.
func (s *session) logConnection() {
	if s.cfg.Logging.LogHostname && !s.peer.local {
		host := s.peer.host
		s.t.Offload(func() {
			ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
			defer cancel()
			if names, err := net.DefaultResolver.LookupAddr(ctx, host); err == nil && len(names) > 0 {
				host = names[0]
			}
		})
		s.peer.host = host
	}
	if s.cfg.Logging.LogConnections {
		s.log.Log(logging.NewConnection(s.peer.host, s.peer.port))
	}
}

// logDisconnection is log_disconnections.
func (s *session) logDisconnection() {
	if s.cfg.Logging.LogDisconnections && s.startup != nil {
		s.log.Log(logging.Disconnection(s.t.Now().Sub(s.began), s.startup.User, s.startup.Database, s.peer.host, s.peer.port))
	}
}

// logEnd tells why a session ended, if that is worth a line.
func (s *session) logEnd(cause error) {
	var gone *clientGone
	var ae *auth.Error
	var full *startupsFull
	var handshake *handshakeError
	switch {
	case errors.Is(cause, errTerminated), errors.Is(cause, errStopping), errors.Is(cause, loop.ErrStopped),
		errors.Is(cause, errServerEnded): // told already
	case errors.Is(cause, errLoginTimeout):
		s.log.Log(logging.AuthenticationTimeout())
	case errors.As(cause, &full):
		if full.tell {
			s.log.Log(full.event())
		}
	case errors.As(cause, &handshake):
		s.log.Log(logging.Event{Severity: logging.Log, Message: "could not accept SSL connection", Detail: handshake.err.Error()})
	case errors.As(cause, &gone):
		s.log.Log(logging.Event{Severity: logging.Log, Message: "client connection lost", Detail: gone.err.Error()})
	case errors.As(cause, &ae):
		s.log.Log(logging.Event{
			Severity: logging.Fatal, Message: ae.LogText, Detail: ae.LogDetail, Hint: ae.LogHint, SQLState: ae.SQLSTATE,
		})
	default:
		f := fieldsOf(cause)
		var server *pool.ServerError
		if errors.As(cause, &server) {
			f = server.Fields
			f.Detail = "the server of DB node " + itoa(server.Node) + " refused the connection"
		}
		s.log.Log(logging.Event{Severity: logging.Fatal, Message: f.Message, Detail: f.Detail, SQLState: f.Code})
	}
}

func (s *session) logStatement(text []byte) { s.emit(logging.Statement(string(text))) }

func (s *session) logUnparsable(text []byte) {
	if s.log.Enabled(logging.Log) {
		s.log.Log(logging.Unparsable(string(text), s.peer.host, s.peer.port))
	}
}

// logPerNode is log_per_node_statement and notice_per_node_statement.
func (s *session) logPerNode(b *backend, kind byte, text []byte) {
	words := logging.NodeText(kind, string(text))
	if s.set.LogPerNodeStatement() {
		s.emit(logging.NodeStatement(b.node, b.c.PID, words))
	}
	if s.set.NoticePerNodeStatement() {
		s.emit(logging.NodeStatementNotice(b.node, words))
	}
}

// emit writes an event to the log and, as client_min_messages says, to the client.
func (s *session) emit(e logging.Event) {
	s.log.Log(e)
	if s.in.State == nil || s.gone || s.midFrame != nil || !e.Severity.SentAt(logging.Severity(s.set.ClientMinMessages())) {
		return
	}
	s.client.setQueued(pgwire.AppendNotice(s.client.queued(), pgwire.Fields{
		Severity: e.Severity.String(), Code: "00000", Message: e.Message, Detail: e.Detail,
	}))
}

// logInjected is log_per_node_statement of a statement of ours.
func (s *session) logInjected(b *backend, sql string) {
	s.emit(logging.NodeStatement(b.node, b.c.PID, sql))
}

func (s *session) logClientMessage(typ byte, frame []byte) {
	body := frame[pgwire.HeaderSize:]
	first, rest, ok := pgwire.CString(body)
	second, _, ok2 := pgwire.CString(rest)
	switch {
	case typ == pgwire.Query && ok:
		s.log.Log(logging.QueryMessage(string(first)))
	case typ == pgwire.Parse && ok && ok2:
		s.log.Log(logging.ParseMessage(string(first), string(second)))
	case typ == pgwire.Bind && ok && ok2:
		s.log.Log(logging.BindMessage(string(first), string(second)))
	case typ == pgwire.Execute && ok:
		s.log.Log(logging.ExecuteMessage(string(first)))
	case (typ == pgwire.Describe || typ == pgwire.Close) && ok && len(first) > 0:
		if typ == pgwire.Describe {
			s.log.Log(logging.DescribeMessage(first[0], string(first[1:])))
		} else {
			s.log.Log(logging.CloseMessage(first[0], string(first[1:])))
		}
	default:
		s.log.Log(logging.ClientMessage(typ))
	}
}

func (s *session) logBackendMessage(b *backend, typ byte) {
	mode := logging.BackendMessagesTerse
	if s.set.LogBackendMessages() == conf.BackendMessagesVerbose {
		mode = logging.BackendMessagesVerbose
	}
	s.backendMessages.Message(s.log, mode, int(b.node), typ)
}

func (s *session) logPreludeFailure(b *backend, f pgwire.Fields) {
	s.emit(logging.Event{
		Severity: logging.Warning, Message: "could not bring DB node " + itoa(b.node) + " up to the session's state",
		Detail: f.Message, Node: logging.OnNode(b.node), SQLState: f.Code,
	})
}

func (s *session) logServerEnded(b *backend, f pgwire.Fields) {
	s.log.Log(logging.Event{
		Severity: logging.Log, Message: "DB node " + itoa(b.node) + " ended the connection: " + f.Message,
		Node: logging.OnNode(b.node), SQLState: f.Code,
	})
}

func (s *session) logLost(node cluster.NodeID, cause error) {
	severity := logging.Log
	if errors.Is(cause, errNodeLeft) { // told once for all sessions: by the failover or switchover
		severity = logging.Debug1
	}
	s.log.Log(logging.Event{
		Severity: severity, Message: "unable to read data from DB node " + itoa(node), Detail: cause.Error(), Node: logging.OnNode(node),
	})
}

// logUnreachable tells of a node that cannot be used for a session or a statement.
func (s *session) logUnreachable(node cluster.NodeID, err error) {
	e := logging.Event{
		Severity: logging.Warning, Message: "failed to create a backend " + itoa(node) + " connection",
		Detail: err.Error(), Node: logging.OnNode(node), SQLState: "08001",
	}
	var ce *pool.ConnectError
	if errors.As(err, &ce) {
		e.Detail = ce.Err.Error()
	}
	s.emit(e)
}

func (s *session) logNames(err error) {
	s.log.Log(logging.Event{Severity: logging.Warning, Message: "could not look up the names in a statement", Detail: err.Error()})
}

func (srv *Server) logUnknownCancel(pid uint32) {
	srv.log.Log(logging.Event{
		Severity: logging.Log, Message: "could not process a cancel request: no session has its key",
		Detail: "pid " + itoa(int(pid)),
	})
}

func (srv *Server) logCancelFailed(err error) {
	srv.log.Log(logging.Event{Severity: logging.Log, Message: "could not forward a cancel request", Detail: err.Error()})
}
