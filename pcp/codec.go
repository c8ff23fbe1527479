package pcp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A packet is a type byte, a length of four bytes that counts itself and the payload, and the payload.
const (
	headerSize = 5
	lengthSize = 4
	// MaxRequest is the greatest length a request may announce, as in Pgpool-II.
	MaxRequest = 259
	// MaxReply is the greatest length of a reply that is read. The protocol knows none; the largest that occur, rows of
	// pcp_proc_info and pcp_watchdog_info, are some kilobytes.
	MaxReply = 16 << 20
	// growth is how much is read at a time of a packet that announces much, so that memory is used for bytes that came.
	growth = 64 << 10
)

// Request types. Each is answered by the letter of the same command below.
const (
	TypeSet              = 'A'
	TypePoolStatus       = 'B'
	TypeAttach           = 'C'
	TypeDetach           = 'D'
	TypeDetachGracefully = 'd'
	TypeStopRecovery     = 'F' // obsolete, never answered
	TypeInvalidateCache  = 'G'
	TypeHealthCheckStats = 'H'
	TypeNodeInfo         = 'I'
	TypePromote          = 'J' // answered by ReplyDetach
	TypePromoteGraceful  = 'j' // likewise
	TypeNodeCount        = 'L'
	TypeSalt             = 'M'
	TypeProcCount        = 'N'
	TypeRecovery         = 'O' // answered by ReplyAttach
	TypeProcInfo         = 'P'
	TypeAuthenticate     = 'R'
	TypeStop             = 'T'
	TypeStopCluster      = 't'
	TypeRotateLog        = 'V'
	TypeWatchdogInfo     = 'W'
	TypeTerminate        = 'X'
	TypeReload           = 'Z'
)

// Reply types. ReplyError and ReplyNotice may come in the place of any, or before it.
const (
	ReplySet              = 'a'
	ReplyPoolStatus       = 'b'
	ReplyAttach           = 'c'
	ReplyDetach           = 'd'
	ReplyInvalidateCache  = 'g'
	ReplyHealthCheckStats = 'h'
	ReplyNodeInfo         = 'i'
	ReplyNodeCount        = 'l'
	ReplySalt             = 'm'
	ReplyProcCount        = 'n'
	ReplyProcInfo         = 'p'
	ReplyAuthenticate     = 'r'
	ReplyStop             = 't'
	ReplyRotateLog        = 'v'
	ReplyWatchdogInfo     = 'w'
	ReplyReload           = 'z'
	ReplyError            = 'E'
	ReplyNotice           = 'N'
)

// First strings of replies.
const (
	TagComplete      = "CommandComplete"  // a reply of one packet, the last packet of several
	TagArraySize     = "ArraySize"        // the first packet of several: the number of rows follows
	TagNodeInfo      = "NodeInfo"         // a row of ReplyNodeInfo
	TagProcessInfo   = "ProcessInfo"      // a row of ReplyProcInfo
	TagProcessConfig = "ProcessConfig"    // a row of ReplyPoolStatus
	AuthenticationOK = "AuthenticationOK" // ReplyAuthenticate
)

// SaltSize is the length of the payload of ReplySalt.
const SaltSize = 4

// Bytes that stand in requests.
const (
	ScopeLocal        = 'l' // of TypeReload and TypeRotateLog
	ScopeCluster      = 'c'
	PromoteOnly       = 'n' // option of TypePromote
	PromoteSwitchover = 's'
)

// Packet is one message of either direction.
type Packet struct {
	Type    byte
	Payload []byte
}

// Strings splits the payload into its strings, each of which ends with a NUL. A rest without one is a string too, for requests that
// end with a bare byte.
func (p Packet) Strings() []string { return SplitStrings(p.Payload) }

// SplitStrings splits b at the NULs that end its strings.
func SplitStrings(b []byte) []string {
	var out []string
	for len(b) > 0 {
		s, rest, _ := bytes.Cut(b, []byte{0})
		out = append(out, string(s))
		b = rest
	}
	return out
}

// AppendPacket appends a packet with the given payload to dst.
func AppendPacket(dst []byte, typ byte, payload []byte) []byte {
	dst = append(dst, typ)
	dst = binary.BigEndian.AppendUint32(dst, uint32(lengthSize+len(payload)))
	return append(dst, payload...)
}

// AppendStrings appends a packet whose payload is the given strings, each followed by a NUL. A string that contains a NUL is cut
// there.
func AppendStrings(dst []byte, typ byte, fields ...string) []byte {
	start := len(dst)
	dst = append(dst, typ, 0, 0, 0, 0)
	for _, f := range fields {
		dst = appendString(dst, f)
	}
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-start-1))
	return dst
}

func appendString(dst []byte, s string) []byte {
	s, _, _ = strings.Cut(s, "\x00")
	return append(append(dst, s...), 0)
}

// LengthError is a packet whose announced length is out of bounds. Nothing behind it can be read.
type LengthError struct{ Length int32 }

func (e *LengthError) Error() string {
	return fmt.Sprintf("invalid PCP packet: incorrect packet length (%d)", e.Length)
}

// Reader takes packets from a stream. It must be the only one that reads there.
type Reader struct {
	in    *bufio.Reader
	limit int32
	buf   []byte
}

// NewReader reads packets whose length is at most limit: MaxRequest or MaxReply.
func NewReader(r io.Reader, limit int32) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 512), limit: limit}
}

// Await returns when the first byte of the next packet is there. Its errors are those of the stream, io.EOF where it ended.
func (r *Reader) Await() error {
	_, err := r.in.Peek(1)
	return err
}

// Next returns the next packet, whose payload is valid until the next call. The error is io.EOF where the stream ended between two
// packets, io.ErrUnexpectedEOF where it ended within one, and a *LengthError where the length cannot be.
func (r *Reader) Next() (Packet, error) {
	var head [headerSize]byte
	if n, err := io.ReadFull(r.in, head[:]); err != nil {
		if n == 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			return Packet{}, err
		}
		return Packet{}, unexpected(err)
	}
	length := int32(binary.BigEndian.Uint32(head[1:]))
	if length < lengthSize || length > r.limit {
		return Packet{}, &LengthError{Length: length}
	}
	if err := r.payload(int(length) - lengthSize); err != nil {
		return Packet{}, err
	}
	return Packet{Type: head[0], Payload: r.buf}, nil
}

// payload reads n bytes into buf.
func (r *Reader) payload(n int) error {
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		have := len(r.buf)
		part := min(n-have, growth)
		if cap(r.buf) < have+part {
			r.buf = append(make([]byte, 0, min(n, 2*have+part)), r.buf...)
		}
		r.buf = r.buf[:have+part]
		if _, err := io.ReadFull(r.in, r.buf[have:]); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
