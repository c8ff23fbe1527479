package agent

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// The beginning of a connection, inside of TLS where that is configured. Every message has a fixed length.
//
//	client                                  agent
//	magic, nonce, public key ------------>
//	      <-------------------------------- nonce, public key
//	proof ------------------------------->            who connects shows first that it knows the key
//	      <-------------------------------- proof
//
// Proofs and the keys of the frames are derived from the shared key, the secret that the two public keys make, everything that was said,
// and the TLS channel. Who learns the key later can read nothing of what was recorded.
const (
	magic     = "pgpagt1\n"
	randomLen = 32
	proofLen  = sha256.Size
	helloLen  = 2 * randomLen
)

var (
	// errStranger is a peer that does not know the key. It is told nothing.
	errStranger = errors.New("the other side does not know the key")
	errProtocol = errors.New("the other side does not speak the protocol of pgpool agents")
)

// channel is an authenticated connection: sealed frames in both directions.
type channel struct {
	conn net.Conn
	out  sealer
	in   opener
}

// connect is the handshake of the side that connected.
func connect(c net.Conn, key []byte) (*channel, error) {
	own, hello, err := newHello()
	if err != nil {
		return nil, err
	}
	hello = append([]byte(magic), hello...)
	if _, err := c.Write(hello); err != nil {
		return nil, err
	}
	theirs := make([]byte, helloLen)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return nil, err
	}
	k, err := derive(c, key, own, hello, theirs, theirs)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(k.clientProof); err != nil {
		return nil, err
	}
	proof := make([]byte, proofLen)
	if _, err := io.ReadFull(c, proof); err != nil {
		return nil, fmt.Errorf("not let in, is the key the same: %w", err)
	}
	if !hmac.Equal(proof, k.serverProof) {
		return nil, errStranger
	}
	return &channel{conn: c, out: sealer{aead: k.client}, in: opener{aead: k.server}}, nil
}

// accept is the handshake of the side that was connected to. It reads 104 bytes and no more from who does not know the key.
func accept(c net.Conn, key []byte) (*channel, error) {
	theirs := make([]byte, len(magic)+helloLen)
	if _, err := io.ReadFull(c, theirs[:len(magic)]); err != nil {
		return nil, err
	}
	if string(theirs[:len(magic)]) != magic {
		return nil, errProtocol
	}
	if _, err := io.ReadFull(c, theirs[len(magic):]); err != nil {
		return nil, err
	}
	own, hello, err := newHello()
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(hello); err != nil {
		return nil, err
	}
	k, err := derive(c, key, own, theirs, hello, theirs[len(magic):])
	if err != nil {
		return nil, err
	}
	proof := make([]byte, proofLen)
	if _, err := io.ReadFull(c, proof); err != nil {
		return nil, err
	}
	if !hmac.Equal(proof, k.clientProof) {
		return nil, errStranger
	}
	if _, err := c.Write(k.serverProof); err != nil {
		return nil, err
	}
	return &channel{conn: c, out: sealer{aead: k.server}, in: opener{aead: k.client}}, nil
}

// newHello is a nonce and a fresh public key, and its private one.
func newHello() (*ecdh.PrivateKey, []byte, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	hello := make([]byte, randomLen, helloLen)
	rand.Read(hello) // never fails
	return private, append(hello, private.PublicKey().Bytes()...), nil
}

// keys are what both sides have derived.
type keys struct {
	clientProof, serverProof []byte
	client, server           cipher.AEAD
}

func derive(c net.Conn, key []byte, own *ecdh.PrivateKey, asked, answered, theirs []byte) (keys, error) {
	public, err := ecdh.X25519().NewPublicKey(theirs[randomLen:])
	if err != nil {
		return keys{}, err
	}
	shared, err := own.ECDH(public)
	if err != nil {
		return keys{}, err
	}
	said := append(append([]byte(nil), asked...), answered...)
	if t, ok := c.(*tls.Conn); ok {
		state := t.ConnectionState()
		binding, err := state.ExportKeyingMaterial("EXPORTER-pgpool-agent", nil, sha256.Size)
		if err != nil {
			return keys{}, err
		}
		said = append(said, binding...)
	}
	salt := sha256.Sum256(said)
	root, err := hkdf.Extract(sha256.New, append(shared, key...), salt[:]) // shared has a fixed length
	if err != nil {
		return keys{}, err
	}
	var k keys
	var raw [4][]byte
	for i, name := range []string{"client proof", "agent proof", "client frames", "agent frames"} {
		if raw[i], err = hkdf.Expand(sha256.New, root, name, sha256.Size); err != nil {
			return keys{}, err
		}
	}
	k.clientProof, k.serverProof = raw[0], raw[1]
	if k.client, err = newAEAD(raw[2]); err != nil {
		return keys{}, err
	}
	k.server, err = newAEAD(raw[3])
	return k, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// A frame is the length of what follows, and a sealed text. The number of the frame in its direction is its nonce, so one that is sent
// again, left out or moved cannot be opened.
const (
	lengthLen = 4
	maxFrame  = 64 << 10 // of a text
)

var errFrame = errors.New("a frame that cannot be opened")

// sealer seals what one side says.
type sealer struct {
	aead cipher.AEAD
	next uint64
}

func (s *sealer) seal(text []byte) ([]byte, error) {
	if len(text) > maxFrame {
		return nil, fmt.Errorf("%d bytes do not fit into a frame", len(text))
	}
	size := len(text) + s.aead.Overhead()
	frame := make([]byte, lengthLen, lengthLen+size)
	binary.BigEndian.PutUint32(frame, uint32(size))
	frame = s.aead.Seal(frame, nonce(s.aead, s.next), text, frame[:lengthLen])
	s.next++
	return frame, nil
}

// opener opens what the other side says.
type opener struct {
	aead cipher.AEAD
	next uint64
}

// read reads one frame; a length that no frame has is refused before anything is read.
func (o *opener) read(r io.Reader) ([]byte, error) {
	var head [lengthLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if int64(size) < int64(o.aead.Overhead()) || int64(size) > int64(maxFrame+o.aead.Overhead()) {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, size)
	}
	sealed := make([]byte, size)
	if _, err := io.ReadFull(r, sealed); err != nil {
		return nil, err
	}
	text, err := o.aead.Open(sealed[:0], nonce(o.aead, o.next), sealed, head[:])
	if err != nil {
		return nil, errFrame
	}
	o.next++
	return text, nil
}

func nonce(a cipher.AEAD, n uint64) []byte {
	b := make([]byte, a.NonceSize())
	binary.BigEndian.PutUint64(b[len(b)-8:], n)
	return b
}
