package listen

import (
	"encoding/binary"
	"fmt"

	"gopgpool/pgwire"
)

// maxFrame bounds a message of the server on a listener connection: payloads have less than 8,000 bytes.
const maxFrame = 64 << 10

// Notification is a NotificationResponse. Channel and Payload alias the frame.
type Notification struct {
	PID     uint32 // of the server process that notified
	Channel []byte
	Payload []byte
}

// ReadNotification reads the body of a NotificationResponse; ok is false for one that is malformed.
func ReadNotification(body []byte) (n Notification, ok bool) {
	if len(body) < 4 {
		return n, false
	}
	n.PID = binary.BigEndian.Uint32(body)
	var rest []byte
	if n.Channel, rest, ok = pgwire.CString(body[4:]); !ok || len(n.Channel) == 0 {
		return n, false
	}
	n.Payload, rest, ok = pgwire.CString(rest)
	return n, ok && len(rest) == 0
}

// withPID is a copy of a NotificationResponse from another pid.
func withPID(frame []byte, pid uint32) []byte {
	out := append(make([]byte, 0, len(frame)), frame...)
	binary.BigEndian.PutUint32(out[pgwire.HeaderSize:], pid)
	return out
}

// splitter cuts what a server sends into messages. A message lives until the next call of room.
type splitter struct {
	buf  []byte
	r, w int
}

// room is where the next bytes go; tell added how many they were.
func (s *splitter) room() []byte {
	if s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if s.w == len(s.buf) {
		s.buf = append(s.buf, make([]byte, max(4096, len(s.buf)))...)
	}
	return s.buf[s.w:]
}

func (s *splitter) added(n int) { s.w += n }

// next is the next whole message, nil if there is none. No message makes the buffer grow beyond twice maxFrame.
func (s *splitter) next() (frame []byte, err error) {
	typ, size, ok, err := pgwire.Header(s.buf[s.r:s.w])
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, nil
	case size > maxFrame:
		return nil, fmt.Errorf("message %q of %d bytes on a connection that listens", typ, size)
	case s.w-s.r < size:
		return nil, nil
	}
	frame = s.buf[s.r : s.r+size]
	s.r += size
	return frame, nil
}
