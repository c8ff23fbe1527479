package pulse

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

const (
	magic     = "GPHB"
	version   = 1
	maxHost   = 255
	macSize   = sha256.Size
	fixedSize = len(magic) + 2 + 3*2 + 2*(16+8) + 1
	maxPacket = fixedSize + maxHost + macSize
)

var (
	errGarbage = errors.New("not a heartbeat")
	errMAC     = errors.New("authentication failed")
)

type runID [16]byte // one start of a node

// mark names one packet of a node: the start it belongs to, and its number since then. The zero mark names none.
type mark struct {
	Run runID
	Seq uint64
}

// packet is a heartbeat:
//
//	magic, version 1, path 1, from 2, to 2, pgpool port 2, run 16, seq 8, run and seq of the echo, length of host 1, host, MAC 32
//
// The MAC, over all before it, is there if there is a key.
type packet struct {
	Path     uint8 // which of the ways to the destination
	From, To uint16
	Port     uint16
	Mark     mark
	Echo     mark // of the last packet heard from the destination
	Host     string
}

func (p *packet) append(b []byte, key string) []byte {
	from := len(b)
	b = append(b, magic...)
	b = append(b, version, p.Path)
	for _, n := range []uint16{p.From, p.To, p.Port} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	for _, m := range []mark{p.Mark, p.Echo} {
		b = append(b, m.Run[:]...)
		b = binary.BigEndian.AppendUint64(b, m.Seq)
	}
	b = append(b, byte(len(p.Host)))
	b = append(b, p.Host...)
	if key == "" {
		return b
	}
	return append(b, sum(key, b[from:])...)
}

// sum cannot be taken for anything else derived from the key: the text in front names the purpose.
func sum(key string, b []byte) []byte {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte("gopgpool pulse\x00"))
	m.Write(b)
	return m.Sum(nil)
}

// parse reads a packet. The MAC is looked at by authentic.
func parse(b []byte) (packet, error) {
	if len(b) < fixedSize || len(b) > maxPacket || string(b[:4]) != magic || b[4] != version {
		return packet{}, errGarbage
	}
	p := packet{Path: b[5]}
	b = b[6:]
	p.From, p.To, p.Port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:])
	b = b[6:]
	for _, m := range []*mark{&p.Mark, &p.Echo} {
		copy(m.Run[:], b)
		m.Seq = binary.BigEndian.Uint64(b[16:])
		b = b[24:]
	}
	n := int(b[0])
	if len(b) != 1+n && len(b) != 1+n+macSize {
		return packet{}, errGarbage
	}
	p.Host = string(b[1 : 1+n])
	return p, nil
}

// authentic checks the MAC of a packet that was parsed; without a key there must be none.
func authentic(b []byte, host, key string) error {
	size := fixedSize + len(host)
	if key == "" {
		if len(b) != size {
			return errMAC
		}
		return nil
	}
	if len(b) != size+macSize || !hmac.Equal(b[size:], sum(key, b[:size])) {
		return errMAC
	}
	return nil
}
