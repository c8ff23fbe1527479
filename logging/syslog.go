package logging

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	syslogSocket  = "/dev/log"
	syslogLine    = 2048            // longest piece sent as one message
	syslogTimeout = 1 * time.Second // for one message
	syslogRetry   = 5 * time.Second // between attempts to reach a syslog that is away
)

// syslogSink sends lines to the local syslog in the traditional form, one message per line.
type syslogSink struct {
	socket   string
	facility int
	tag      string // ident[pid]
	now      func() time.Time

	conn  net.Conn
	retry time.Time
	buf   []byte
}

func newSyslogSink(c Config, now func() time.Time) *syslogSink {
	socket := either(c.SyslogSocket, syslogSocket)
	return &syslogSink{
		socket: socket, facility: 16 + c.SyslogFacility, now: now,
		tag: c.SyslogIdent + "[" + strconv.Itoa(os.Getpid()) + "]: ",
	}
}

// syslogPriority maps severities as Pgpool-II does.
func syslogPriority(s Severity) int {
	const crit, err, warning, notice, info, debug = 2, 3, 4, 5, 6, 7
	switch s {
	case Debug5, Debug4, Debug3, Debug2, Debug1:
		return debug
	case Log, serverOnly, Info:
		return info
	case Notice, Warning:
		return notice
	case Error, FrontendError:
		return warning
	case Fatal:
		return err
	case Panic:
		return crit
	}
	return info
}

// write sends the lines of text; false if they were lost.
func (s *syslogSink) write(text []byte, sev Severity) bool {
	ok := true
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\n")
		for len(line) > 0 {
			n := pieceLen(line, syslogLine)
			ok = s.send(line[:n], sev) && ok
			line = line[n:]
		}
	}
	return ok
}

// pieceLen is how much of line makes one message: at most limit bytes, no character cut.
func pieceLen(line []byte, limit int) int {
	if len(line) <= limit {
		return len(line)
	}
	n := limit
	for n > limit-utf8.UTFMax && !utf8.RuneStart(line[n]) {
		n--
	}
	return n
}

// send sends one message, over a new connection if the old one broke.
func (s *syslogSink) send(line []byte, sev Severity) bool {
	b := append(s.buf[:0], '<')
	b = strconv.AppendInt(b, int64(s.facility<<3|syslogPriority(sev)), 10)
	b = append(b, '>')
	b = s.now().AppendFormat(b, time.Stamp)
	b = append(b, ' ')
	b = append(b, s.tag...)
	b = append(b, line...)
	s.buf = b
	for range 2 {
		if !s.connect() {
			return false
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(syslogTimeout)) // fails only on a closed socket; Write tells
		if _, err := s.conn.Write(b); err == nil {
			return true
		}
		s.close()
	}
	s.retry = s.now().Add(syslogRetry)
	return false
}

func (s *syslogSink) connect() bool {
	if s.conn != nil {
		return true
	}
	if s.now().Before(s.retry) {
		return false
	}
	conn, err := net.DialTimeout("unixgram", s.socket, syslogTimeout)
	if err != nil {
		s.retry = s.now().Add(syslogRetry)
		return false
	}
	s.conn = conn
	return true
}

func (s *syslogSink) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}
