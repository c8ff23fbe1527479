package pcp

import (
	"bytes"
	"errors"
	"strings"
)

// Severities that matter: behind SeverityError the connection goes on, behind SeverityFatal the server closes it.
const (
	SeverityError = "ERROR"
	SeverityFatal = "FATAL"
)

// stateInternal is the SQLSTATE of every error of this protocol.
const stateInternal = "XX000"

// maxNoticeValue is where a text is cut, as in Pgpool-II.
const maxNoticeValue = 255

// Notice is the content of an E or N packet.
type Notice struct {
	Severity, State       string
	Message, Detail, Hint string
	File, Line            string
}

// Fatal reports whether the server closes the connection behind it.
func (n *Notice) Fatal() bool { return n.Severity == SeverityFatal || n.Severity == "PANIC" }

// AppendNotice appends n as a packet of type ReplyError or ReplyNotice. Detail and Hint are left out where they are empty. Texts are
// written so that the clients of all releases read them: see clientText.
func AppendNotice(dst []byte, typ byte, n Notice) []byte {
	var b []byte
	field := func(letter byte, value string) {
		if value != "" {
			b = appendString(append(b, letter), cut(value))
		}
	}
	field('S', n.Severity)
	field('C', n.State)
	field('M', clientText(n.Message))
	field('D', clientText(n.Detail))
	field('H', n.Hint)
	field('F', n.File)
	field('L', n.Line)
	return AppendPacket(dst, typ, append(b, 0))
}

// clientText makes a text one that Pgpool-II's clients can read. They take the first character of a message or detail for a field
// letter where it is S, M or D, so such a text begins in lower case.
func clientText(s string) string {
	if s != "" && strings.IndexByte("SMD", s[0]) >= 0 {
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// cut shortens s to maxNoticeValue bytes without leaving half a character.
func cut(s string) string {
	if len(s) <= maxNoticeValue {
		return s
	}
	return strings.ToValidUTF8(s[:maxNoticeValue], "")
}

var errNotice = errors.New("pcp: malformed error packet")

// ParseNotice reads the payload of an E or N packet. Fields it does not know are passed over; an error means that the packet has no
// severity or no message.
func ParseNotice(payload []byte) (Notice, error) {
	var n Notice
	places := map[byte]*string{
		'S': &n.Severity, 'C': &n.State, 'M': &n.Message, 'D': &n.Detail, 'H': &n.Hint, 'F': &n.File, 'L': &n.Line,
	}
	for len(payload) > 0 && payload[0] != 0 {
		letter := payload[0]
		value, rest, ended := bytes.Cut(payload[1:], []byte{0})
		if !ended {
			return Notice{}, errNotice
		}
		if place := places[letter]; place != nil && *place == "" {
			*place = string(value)
		}
		payload = rest
	}
	if n.Severity == "" || n.Message == "" {
		return Notice{}, errNotice
	}
	return n, nil
}
