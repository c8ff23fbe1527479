package fakepg

import (
	"encoding/binary"

	"gopgpool/pgwire"
)

// reader takes a message's body apart and finds fault with it in the server's words. After the first fault all is zero.
type reader struct {
	rest  []byte
	fault string
}

func (r *reader) bad(fault string) {
	if r.fault == "" {
		r.fault = fault
	}
	r.rest = nil
}

func (r *reader) text() string {
	s, rest, ok := pgwire.CString(r.rest)
	if !ok {
		r.bad("invalid string in message")
		return ""
	}
	r.rest = rest
	return string(s)
}

func (r *reader) letter() byte {
	if len(r.rest) == 0 {
		r.bad("no data left in message")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad("insufficient data left in message")
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) int16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int {
	if b := r.take(4); b != nil {
		return int(int32(binary.BigEndian.Uint32(b)))
	}
	return 0
}

func (r *reader) end() {
	if len(r.rest) > 0 {
		r.bad("invalid message format")
	}
}
