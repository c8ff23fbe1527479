package mesh

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// handshake is our side of one connection's beginning:
//
//	connector                      acceptor
//	hello ----------------------->
//	      <----------------------- hello
//	proof ----------------------->            the connector shows first that it knows the key: a listener that
//	      <----------------------- proof      gave proofs to whoever comes would serve to guess the key
//	accept ---------------------->            the first frame under the key of the connection
//
// Either side may say refuse, and why, in place of its next message.
type handshake struct {
	config  *Config
	run     runID
	in      *bufio.Reader
	out     io.Writer
	channel []byte                 // identifies the TLS channel; nil without TLS
	at      func(host string) bool // see judge
}

// session is what a handshake agreed upon.
type session struct {
	hello hello // the peer's
	seal  sealer
	open  opener
}

func (h *handshake) hello(to int) hello {
	c := h.config
	own := c.Nodes[c.Self]
	out := hello{
		Version: uint16(c.Version), Keyed: c.Key != "", Node: uint16(c.Self), To: uint16(to),
		WdPort: uint16(own.WdPort), PgpoolPort: uint16(own.PgpoolPort), Run: h.run,
		Host: own.Host, Name: c.Name, NodesHash: c.NodesHash,
	}
	rand.Read(out.Nonce[:]) // never fails
	return out
}

// connect is the handshake of the side that connected, to node to.
func (h *handshake) connect(to int) (session, error) {
	ours := h.hello(to)
	said := ours.append(nil)
	if err := h.say(kindHello, said); err != nil {
		return session{}, err
	}
	heard, err := h.hear(kindHello)
	if err != nil {
		return session{}, err
	}
	theirs, err := h.greeted(heard)
	if err != nil {
		return session{}, h.refuse(err)
	}
	t := newTranscript(said, heard, h.channel)
	if err := h.say(kindProof, t.proof(h.config.Key, connector)); err != nil {
		return session{}, err
	}
	if err := h.proven(t, acceptor, &theirs); err != nil {
		return session{}, h.refuse(err)
	}
	if int(theirs.Node) != to && int(theirs.Node) != h.config.Self {
		return session{}, h.refuse(refuseNode(&theirs, fmt.Sprintf("node %d answers where node %d should be", theirs.Node, to)))
	}
	if r := judge(h.config, &theirs, func(string) bool { return true }); r != nil { // we went to that host ourselves
		return session{}, h.refuse(r)
	}
	s := newSession(h.config.Key, t, connector, theirs)
	_, err = h.out.Write(s.seal.append(nil, kindAccept, nil))
	return s, err
}

// accept is the handshake of the side that was connected to.
func (h *handshake) accept() (session, error) {
	heard, err := h.hear(kindHello)
	if err != nil {
		return session{}, err
	}
	theirs, err := h.greeted(heard)
	if err != nil {
		return session{}, h.refuse(err)
	}
	ours := h.hello(int(theirs.Node))
	said := ours.append(nil)
	if err := h.say(kindHello, said); err != nil {
		return session{}, err
	}
	t := newTranscript(heard, said, h.channel)
	if err := h.proven(t, connector, &theirs); err != nil {
		return session{}, h.refuse(err)
	}
	if r := judge(h.config, &theirs, h.at); r != nil {
		return session{}, h.refuse(r)
	}
	if err := h.say(kindProof, t.proof(h.config.Key, acceptor)); err != nil {
		return session{}, err
	}
	s := newSession(h.config.Key, t, acceptor, theirs)
	err = h.accepted(&s)
	return s, err
}

func newSession(key string, t transcript, us role, theirs hello) session {
	return session{
		hello: theirs,
		seal:  sealer{mac: t.frameMAC(key, us)},
		open:  opener{mac: t.frameMAC(key, us.other())},
	}
}

// greeted reads the other side's hello and refuses what no proof could mend.
func (h *handshake) greeted(heard []byte) (hello, error) {
	ours := uint16(h.config.Version)
	theirs, err := parseHello(heard, ours)
	switch {
	case err != nil:
		return hello{}, err
	case theirs.Version != ours:
		return hello{}, refuseVersion(theirs.Version, ours)
	case theirs.Keyed != (h.config.Key != ""):
		return hello{}, refuseKey(&theirs)
	}
	return theirs, nil
}

func (h *handshake) proven(t transcript, r role, theirs *hello) error {
	proof, err := h.hear(kindProof)
	if err != nil {
		return err
	}
	if !hmac.Equal(proof, t.proof(h.config.Key, r)) {
		return refuseKey(theirs)
	}
	return nil
}

// accepted waits for the connector's consent.
func (h *handshake) accepted(s *session) error {
	kind, err := h.in.Peek(1)
	if err != nil {
		return err
	}
	if kind[0] == kindRefuse {
		_, err := h.hear(kindAccept)
		return err
	}
	head, size, err := readHeader(h.in)
	if err != nil {
		return err
	}
	if head[0] != kindAccept || size != 0 {
		return errFrame
	}
	_, err = readBody(h.in, &s.open, head, size)
	return err
}

func (h *handshake) say(kind byte, body []byte) error {
	_, err := h.out.Write(appendEarly(nil, kind, body))
	return err
}

// hear returns the body of the next frame, which must be of the given kind.
func (h *handshake) hear(kind byte) ([]byte, error) {
	got, body, err := readEarly(h.in)
	switch {
	case err != nil:
		return nil, err
	case got == kindRefuse:
		return nil, &refused{printable(body)}
	case got != kind:
		return nil, errNotOurs
	}
	return body, nil
}

// refuse tells the other side if err is a refusal of ours; it returns err.
func (h *handshake) refuse(err error) error {
	var r *refusal
	if errors.As(err, &r) {
		text := r.text
		if len(text) > maxWhy {
			text = text[:maxWhy]
		}
		_ = h.say(kindRefuse, []byte(text)) // who does not hear it is refused all the same
	}
	return err
}
