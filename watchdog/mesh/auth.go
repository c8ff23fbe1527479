package mesh

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// role is a side of a connection. Whatever is derived from the key names the role, so nothing one side says can be
// sent back to it as the other side's word.
type role string

const (
	connector role = "connector"
	acceptor  role = "acceptor"
)

func (r role) other() role {
	if r == connector {
		return acceptor
	}
	return connector
}

// transcript is a digest of all that was said, and of the TLS channel it was said on. Both sides' nonces are in it, so it is
// another one on each connection.
type transcript [sha256.Size]byte

func newTranscript(connectorHello, acceptorHello, channel []byte) transcript {
	h := sha256.New()
	for _, part := range [][]byte{connectorHello, acceptorHello, channel} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write(part)
	}
	return transcript(h.Sum(nil))
}

func (t transcript) derive(key, purpose string, r role) []byte {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte("gopgpool mesh " + purpose + " " + string(r) + "\x00"))
	m.Write(t[:])
	return m.Sum(nil)
}

// proof shows that r knows the key; nil without a key.
func (t transcript) proof(key string, r role) []byte {
	if key == "" {
		return nil
	}
	return t.derive(key, "proof", r)
}

// frameMAC authenticates the frames r sends; nil without a key.
func (t transcript) frameMAC(key string, r role) hash.Hash {
	if key == "" {
		return nil
	}
	return hmac.New(sha256.New, t.derive(key, "frames", r))
}

// sealer makes the frames of one direction of a connection.
type sealer struct {
	mac hash.Hash // nil: no authentication
	seq uint64
}

func (s *sealer) append(b []byte, kind byte, payload []byte) []byte {
	from := len(b)
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.BigEndian.AppendUint64(b, s.seq)
	b = append(b, payload...)
	s.seq++
	if s.mac == nil {
		return b
	}
	s.mac.Reset()
	s.mac.Write(b[from:])
	return s.mac.Sum(b)
}

// opener checks them at the other end.
type opener struct {
	mac hash.Hash
	seq uint64
}

func (o *opener) check(head [sessionHeader]byte, payload []byte, sum [macSize]byte) error {
	if binary.BigEndian.Uint64(head[5:]) != o.seq {
		return errMAC
	}
	if o.mac != nil {
		o.mac.Reset()
		o.mac.Write(head[:])
		o.mac.Write(payload)
		if !hmac.Equal(o.mac.Sum(nil), sum[:]) {
			return errMAC
		}
	}
	o.seq++
	return nil
}
