package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxPayload is the longest message.
const MaxPayload = 16 << 20

const (
	maxEarly = 4096 // the longest body of a frame of the handshake
	maxText  = 1000 // the longest host name, node name, hash of nodes
	maxWhy   = 1000 // the longest reason in a refusal

	earlyHeader   = 1 + 4     // kind, length
	sessionHeader = 1 + 4 + 8 // kind, length, sequence number
	macSize       = 32

	readStep = 64 << 10 // memory for a long message grows with what has arrived, not with what was announced
)

// The kinds of frames. Of a handshake: hello, proof, refuse. Afterwards: accept, once from the side that connected, then
// data, alive and bye. These and the beginning of hello are the same in every version of the protocol.
const (
	kindHello  = 'H'
	kindProof  = 'P'
	kindRefuse = 'R'

	kindAccept = 'A'
	kindData   = 'D'
	kindAlive  = 'K'
	kindBye    = 'X'
)

const magic = "GPWD"

var (
	errNotOurs = errors.New("not a watchdog node")
	errFrame   = errors.New("malformed frame")
	errMAC     = errors.New("frame with a wrong MAC or sequence number")
)

type (
	runID [16]byte // one start of a node
	nonce [32]byte
)

// hello is what each side says first.
type hello struct {
	Version    uint16
	Keyed      bool   // has a wd_authkey
	Node       uint16 // who speaks
	To         uint16 // whom it wants to speak to
	WdPort     uint16
	PgpoolPort uint16
	Run        runID
	Nonce      nonce
	Host       string
	Name       string
	NodesHash  string
}

func (h *hello) append(b []byte) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint16(b, h.Version)
	keyed := byte(0)
	if h.Keyed {
		keyed = 1
	}
	b = append(b, keyed)
	for _, n := range []uint16{h.Node, h.To, h.WdPort, h.PgpoolPort} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	b = append(b, h.Run[:]...)
	b = append(b, h.Nonce[:]...)
	for _, s := range []string{h.Host, h.Name, h.NodesHash} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b
}

// parseHello reads a hello. Of one with another version than ours only Version is set: its rest may look different.
func parseHello(b []byte, version uint16) (hello, error) {
	d := decoder{rest: b}
	if string(d.take(len(magic))) != magic {
		return hello{}, errNotOurs
	}
	h := hello{Version: d.uint16()}
	if d.bad {
		return hello{}, errNotOurs
	}
	if h.Version != version {
		return h, nil
	}
	flags := d.take(1)
	h.Node, h.To, h.WdPort, h.PgpoolPort = d.uint16(), d.uint16(), d.uint16(), d.uint16()
	copy(h.Run[:], d.take(len(h.Run)))
	copy(h.Nonce[:], d.take(len(h.Nonce)))
	h.Host, h.Name, h.NodesHash = d.text(), d.text(), d.text()
	if d.bad || len(d.rest) != 0 || flags[0] > 1 {
		return hello{}, errNotOurs
	}
	h.Keyed = flags[0] == 1
	return h, nil
}

// decoder takes pieces off a message; bad stays set once something was missing.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || len(d.rest) < n {
		d.bad = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) text() string {
	n := int(d.uint16())
	if n > maxText {
		d.bad = true
	}
	return string(d.take(n))
}

// appendEarly appends a frame of the handshake.
func appendEarly(b []byte, kind byte, body []byte) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// readEarly reads a frame of the handshake.
func readEarly(r io.Reader) (kind byte, body []byte, err error) {
	var head [earlyHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxEarly {
		return 0, nil, fmt.Errorf("%w: %d bytes before authentication", errNotOurs, n)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[0], body, err
}

// readHeader reads the header of a frame after the handshake.
func readHeader(r io.Reader) (head [sessionHeader]byte, size int, err error) {
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return head, 0, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxPayload {
		return head, 0, fmt.Errorf("%w: %d bytes", errFrame, n)
	}
	return head, int(n), nil
}

// readBody reads what follows a header and checks all of it. The payload is the caller's.
func readBody(r io.Reader, o *opener, head [sessionHeader]byte, size int) ([]byte, error) {
	var payload []byte
	for len(payload) < size {
		from := len(payload)
		payload = append(payload, make([]byte, min(readStep, size-from))...)
		if _, err := io.ReadFull(r, payload[from:]); err != nil {
			return nil, err
		}
	}
	var sum [macSize]byte
	if o.mac != nil {
		if _, err := io.ReadFull(r, sum[:]); err != nil {
			return nil, err
		}
	}
	return payload, o.check(head, payload, sum)
}
