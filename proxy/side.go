package proxy

import (
	"gopgpool/loop"
)

// bufferSize is that of a read buffer. What must be seen whole (a statement to be analyzed) has to fit.
const bufferSize = 64 << 10

// maxOut is how much may wait to be written to one socket before its sources are no longer read.
const maxOut = 256 << 10

// maxOutPumping is the same for the client's socket while a session waits for a server in the middle of a pipeline.
const maxOutPumping = 16 << 20

// maxPerTurn bounds the bytes a session reads from one socket before others have their turn.
const maxPerTurn = 512 << 10

// smallBuffer is that of a client's read buffer to begin with: many may wait for a server with a statement in it.
const smallBuffer = 8 << 10

// buffers are the free read buffers of one loop: idle sessions hold none.
type buffers struct {
	free, small [][]byte
}

// maxFree and maxFreeSmall bound the buffers kept for later.
const (
	maxFree      = 64
	maxFreeSmall = 1024
)

func (p *buffers) get(size int) []byte {
	list := &p.free
	if size == smallBuffer {
		list = &p.small
	}
	if n := len(*list); n > 0 {
		b := (*list)[n-1]
		*list = (*list)[:n-1]
		return b
	}
	return make([]byte, size)
}

func (p *buffers) put(b []byte) {
	switch {
	case len(b) == smallBuffer && len(p.small) < maxFreeSmall:
		p.small = append(p.small, b)
	case len(b) == bufferSize && len(p.free) < maxFree:
		p.free = append(p.free, b)
	}
}

// side is one socket of a session with its buffers. in[r:w] has been read and not been dealt with; out[o:] waits to be
// written. skip is what is still to come of a frame whose beginning has been dealt with.
type side struct {
	conn *loop.Conn
	pool *buffers
	in   []byte
	r, w int
	out  []byte
	o    int
	skip int
	// shifts counts how often what in held was moved or let go of
	shifts uint32
	// thrifty: begins with a small buffer for what it reads
	thrifty bool
	err     error // of the last write; reads meet their own
}

// pending is what has been read and not been dealt with.
func (s *side) pending() []byte { return s.in[s.r:s.w] }

// fill reads once. n = 0 without an error means that there is nothing now or no room.
func (s *side) fill() (n int, err error) {
	if s.in == nil {
		size := bufferSize
		if s.thrifty {
			size = smallBuffer
		}
		s.in = s.pool.get(size)
		s.r, s.w = 0, 0
	}
	if s.r > 0 {
		s.w = copy(s.in, s.in[s.r:s.w])
		s.r = 0
		s.shifts++
	}
	if s.w == len(s.in) && len(s.in) == smallBuffer {
		in := s.pool.get(bufferSize)
		copy(in, s.in)
		s.pool.put(s.in)
		s.in = in
	}
	if s.w == len(s.in) {
		return 0, nil
	}
	n, err = s.conn.TryRead(s.in[s.w:])
	s.w += n
	return n, err
}

// full reports that no more can be read before something is dealt with.
func (s *side) full() bool {
	return s.in != nil && s.r == 0 && s.w == len(s.in) && len(s.in) == bufferSize
}

// rest gives an emptied read buffer back.
func (s *side) rest() {
	if s.in != nil && s.r == s.w {
		s.pool.put(s.in)
		s.in = nil
		s.r, s.w = 0, 0
		s.shifts++
	}
}

// send writes b, or keeps a copy of what cannot be written now.
func (s *side) send(b []byte) {
	if s.err != nil || len(b) == 0 {
		return
	}
	if s.o == len(s.out) {
		n, err := s.conn.TryWrite(b)
		if err != nil {
			s.err = err
			return
		}
		b = b[n:]
		if len(b) == 0 {
			return
		}
	}
	s.compact()
	s.out = append(s.out, b...)
}

// compact drops what has been written from the front of out, which would grow for ever with a peer that never quite catches up.
func (s *side) compact() {
	if s.o >= bufferSize {
		s.out = s.out[:copy(s.out, s.out[s.o:])]
		s.o = 0
	}
}

// queue keeps b for the next flush, so that it shares a write with what follows.
func (s *side) queue(b []byte) {
	s.compact()
	s.out = append(s.out, b...)
}

// queued is the buffer to append to instead of queue, to be given back with setQueued.
func (s *side) queued() []byte     { return s.out }
func (s *side) setQueued(b []byte) { s.out = b }

// backlog is what waits to be written.
func (s *side) backlog() int { return len(s.out) - s.o }

// flush writes as much as it can.
func (s *side) flush() {
	if s.o == len(s.out) || s.err != nil {
		return
	}
	n, err := s.conn.TryWrite(s.out[s.o:])
	s.o += n
	if err != nil {
		s.err = err
	}
	if s.o == len(s.out) {
		s.o = 0
		if cap(s.out) > bufferSize {
			s.out = nil
		} else {
			s.out = s.out[:0]
		}
	}
}

// idle lets go of all memory that an idle session need not hold.
func (s *side) idle() {
	s.rest()
	if s.o == len(s.out) && s.out != nil {
		s.out, s.o = nil, 0
	}
}

func (s *side) free() {
	if s.in != nil {
		s.pool.put(s.in)
		s.in = nil
	}
	s.r, s.w, s.out, s.o = 0, 0, nil, 0
}
