package proxy

import (
	"encoding/binary"
	"strconv"

	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
)

// This file is about pg_cancel_backend and pg_terminate_backend where the pid is one that clients know from BackendKeyData and no server
// does: that of a session which shares its connections. The proxy does what is asked and answers.

// boundSignal is such a call, bound.
type boundSignal struct {
	pid       int32
	terminate bool
	binary    bool // the result was asked for in binary format
}

// signalsOurs reports a call about a session of ours.
func signalsOurs(g *stmt.Signal) bool { return g != nil && g.PID >= firstSharedPID }

// signalSimple answers a simple query that is such a call.
func (s *session) signalSimple(g *stmt.Signal) error {
	if s.state.IsFailed() {
		return s.refuse(errFailedTransaction)
	}
	done, err := s.signal(g.PID, g.Terminate)
	if err != nil {
		return s.refuse(err)
	}
	out := appendSignalColumn(s.client.queued(), g.Terminate, false)
	out = appendSignalRow(out, done, false)
	s.client.setQueued(pgwire.AppendReady(out, s.txByte()))
	s.lastSeen = s.t.Now()
	return nil
}

// appendSignalColumn appends the description of the one column, appendSignalRow the row and the end.
func appendSignalColumn(dst []byte, terminate, binaryFormat bool) []byte {
	name := "pg_cancel_backend"
	if terminate {
		name = "pg_terminate_backend"
	}
	const boolean = 16 // its OID
	body := append([]byte{0, 1}, name...)
	body = append(body, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, boolean, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0)
	if binaryFormat {
		body[len(body)-1] = 1
	}
	return pgwire.AppendBody(dst, pgwire.RowDescription, body)
}

func appendSignalRow(dst []byte, done, binaryFormat bool) []byte {
	v := byte('f')
	switch {
	case binaryFormat && done:
		v = 1
	case binaryFormat:
		v = 0
	case done:
		v = 't'
	}
	dst = pgwire.AppendBody(dst, pgwire.DataRow, []byte{0, 1, 0, 0, 0, 1, v})
	return pgwire.AppendTag(dst, "SELECT 1")
}

// signal cancels what the session with the number runs, or ends it. It reports false if there is none.
func (s *session) signal(pid int32, terminate bool) (done bool, err error) {
	var key *pgwire.Cancel
	for _, h := range s.srv.homes {
		s.srv.onLoop(s.t, h.loop, func() {
			for x := range h.sessions {
				if x.slot.pid != int(pid) {
					continue
				}
				done = true
				switch {
				case x.startup.User != s.startup.User && !s.ops.superuser:
					err = &clientError{
						Code: "42501", Message: "permission denied to cancel query or terminate process",
						Detail: "It is a session of another user.",
					}
				case terminate:
					x.kill()
				default:
					key = &pgwire.Cancel{PID: x.pid, Key: x.secret}
				}
			}
		})
	}
	if key != nil {
		s.t.Loop().Go("cancel", func(t *loop.Task) { s.srv.cancel(t, key) })
	}
	return done, err
}

// boundPID is the pid a Bind message brings for a call whose argument is a parameter.
func boundPID(frame []byte, g *stmt.Signal) (pid int32, binaryResult, ok bool) {
	b, ok := readBind(frame[pgwire.HeaderSize:])
	if !ok {
		return 0, false, false
	}
	pid = g.PID
	if g.Param > 0 {
		if g.Param > len(b.values) {
			return 0, false, false
		}
		v := b.values[g.Param-1]
		switch {
		case b.isBinary(g.Param-1) && len(v) == 4:
			pid = int32(binary.BigEndian.Uint32(v))
		case !b.isBinary(g.Param - 1):
			n, err := strconv.ParseInt(string(v), 10, 32)
			if err != nil {
				return 0, false, false
			}
			pid = int32(n)
		}
	}
	return pid, len(b.results) > 0 && b.results[0] == 1, true
}

// bound is what stands in a Bind message behind the names.
type bound struct {
	formats, results []uint16
	values           [][]byte // nil is NULL
}

func (b *bound) isBinary(i int) bool {
	switch len(b.formats) {
	case 0:
		return false
	case 1:
		return b.formats[0] == 1
	}
	return i < len(b.formats) && b.formats[i] == 1
}

// readBind reads the body of a Bind message.
func readBind(body []byte) (b bound, ok bool) {
	_, rest, ok := pgwire.CString(body)
	_, rest, ok2 := pgwire.CString(rest)
	if !ok || !ok2 {
		return b, false
	}
	if b.formats, rest, ok = readShorts(rest); !ok || len(rest) < 2 {
		return b, false
	}
	n := int(binary.BigEndian.Uint16(rest))
	rest = rest[2:]
	for range n {
		if len(rest) < 4 {
			return b, false
		}
		size := int32(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		switch {
		case size == -1:
			b.values = append(b.values, nil)
		case size < 0 || int(size) > len(rest):
			return b, false
		default:
			b.values = append(b.values, rest[:size])
			rest = rest[size:]
		}
	}
	b.results, _, ok = readShorts(rest)
	return b, ok
}

func readShorts(b []byte) (list []uint16, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) < 2*n {
		return nil, nil, false
	}
	for i := range n {
		list = append(list, binary.BigEndian.Uint16(b[2*i:]))
	}
	return list, b[2*n:], true
}

// bindSignal binds a call about a session of ours, which the proxy answers. ok is false for any other; then the node that has the server
// process, if it is a server's, is where it has to go.
func (s *session) bindSignal(p *prepared, portalName, frame []byte) (ok bool, err error) {
	g := p.facts.Signal
	pid, binaryResult, read := boundPID(frame, g)
	if !read {
		return false, nil
	}
	if pid < firstSharedPID {
		s.signalled = pid
		s.stateVer++ // it has to be routed by its argument
		return false, nil
	}
	s.setPortal(portalName, portal{p: p, signal: &boundSignal{pid, g.Terminate, binaryResult}})
	return true, s.local(bindComplete)
}

// executeSignal answers the Execute of a bound call.
func (s *session) executeSignal(x *boundSignal) error {
	done, err := s.signal(x.pid, x.terminate)
	if err != nil {
		return s.refuseExtended(err)
	}
	return s.local(appendSignalRow(nil, done, x.binary))
}

// signalledPID is the pid of a server process that a call is about, 0 if a statement is none.
func (s *session) signalledPID(f *stmt.Facts) int32 {
	switch {
	case f.Signal == nil:
		return 0
	case f.Signal.PID > 0:
		return f.Signal.PID
	}
	return s.signalled
}
