package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Header is what a balancer says about a connection.
type Header struct {
	// Local tells that the header names no address, and that the connection counts as the balancer's own: command LOCAL (its health
	// check), UNKNOWN of version 1, a Unix domain client.
	Local bool
	// Source is the client, Destination what it connected to; both are zero with Local. An IPv4 address is never
	// one mapped into IPv6.
	Source, Destination netip.AddrPort
}

// ErrMissing is a connection that begins with something else than a header.
var ErrMissing = errors.New("connection does not begin with a PROXY protocol header")

// What is wrong with a header is told to the log, not to whoever sent it.
var (
	errTooLong  = errors.New("too long")
	errDatagram = errors.New("a datagram's address on a stream")
)

const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"

	maxLine  = 107  // of version 1, with its line end
	fixed    = 16   // bytes of version 2 up to and with the length of the rest
	maxBlock = 4096 // of that rest: addresses and all a balancer may add, a client certificate included
)

// MaxSize is the length of the longest header.
const MaxSize = fixed + maxBlock

// Parse reads the header at the start of what a connection has brought so far. n is its length: what follows in b
// belongs to the client. With more the header is not complete: call again with the same bytes and further ones. An error is
// [ErrMissing] or tells what is wrong with the header; the connection cannot be used. b is not kept.
//
// A checksum is verified if there is one; other additions of version 2 are passed over.
func Parse(b []byte) (h Header, n int, more bool, err error) {
	n, more, err = size(b)
	if more || err != nil {
		return Header{}, 0, more, err
	}
	h, err = read(b[:n])
	if err != nil {
		return Header{}, 0, false, fmt.Errorf("malformed PROXY protocol header: %w", err)
	}
	return h, n, false, nil
}

// size finds the end of the header, so that the library, which reads streams, is given neither less nor more.
func size(b []byte) (n int, more bool, err error) {
	switch {
	case begins(b, signature1):
		return size1(b)
	case begins(b, signature2):
		return size2(b)
	}
	return 0, false, ErrMissing
}

// begins tells whether b begins with the signature, as far as b goes.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

func size1(b []byte) (n int, more bool, err error) {
	line := b[:min(len(b), maxLine)]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		return i + 1, false, nil
	}
	if len(line) == maxLine {
		return 0, false, fmt.Errorf("malformed PROXY protocol header: %w", errTooLong)
	}
	return 0, true, nil
}

func size2(b []byte) (n int, more bool, err error) {
	if len(b) < fixed {
		return 0, true, nil
	}
	n = int(binary.BigEndian.Uint16(b[fixed-2:]))
	if n > maxBlock {
		return 0, false, fmt.Errorf("malformed PROXY protocol header: %w", errTooLong)
	}
	n += fixed
	return n, len(b) < n, nil
}

// Lengths of the addresses in version 2.
const (
	addresses4    = 2*4 + 2*2
	addresses6    = 2*16 + 2*2
	addressesUnix = 2 * 108
)

// read decodes a whole header.
func read(b []byte) (Header, error) {
	p, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return Header{}, err
	}
	h := Header{Local: p.Command.IsLocal() || p.TransportProtocol == proxyproto.UnixStream}
	switch {
	case p.Command.IsLocal(): // the rest of the header means nothing
		return h, nil
	case p.TransportProtocol.IsDatagram():
		return Header{}, errDatagram
	case !h.Local:
		h.Source, h.Destination = addrPort(p.SourceAddr), addrPort(p.DestinationAddr)
	}
	if p.Version == 1 {
		return h, nil
	}
	return h, checkAdditions(b, fixed+addressesOf(p.TransportProtocol))
}

func addressesOf(family proxyproto.AddressFamilyAndProtocol) int {
	switch {
	case family.IsIPv4():
		return addresses4
	case family.IsIPv6():
		return addresses6
	default:
		return addressesUnix
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		panic("proxyproto: a stream's address is none")
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
