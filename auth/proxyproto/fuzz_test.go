package proxyproto

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"github.com/pires/go-proxyproto"
)

// FuzzParse reads foreign bytes at once and in pieces, and compares with the library's own reading of a stream.
func FuzzParse(f *testing.F) {
	for _, c := range heads() {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, more, err := Parse(b)
		if n < 0 || n > len(b) || n > MaxSize || more && (n != 0 || err != nil) || (err == nil && !more) != (n > 0) {
			t.Fatalf("%d bytes of %d, more %v, %v", n, len(b), more, err)
		}
		if more && len(b) >= MaxSize {
			t.Fatalf("wants more than %d bytes", len(b))
		}
		if err == nil && !more && !h.Local && (!h.Source.IsValid() || !h.Destination.IsValid() || h.Source.Addr().Is4In6()) {
			t.Fatalf("%+v", h)
		}
		inPieces(t, b, h, n, err)
		likeTheLibrary(t, b, h, n, more, err)
	})
}

// inPieces lets more and more of the bytes arrive: the answer may not change once there is one.
func inPieces(t *testing.T, b []byte, h Header, n int, err error) {
	for i := range b {
		h2, n2, more2, err2 := Parse(b[:i])
		if more2 {
			continue
		}
		if h2 != h || n2 != n || (err2 == nil) != (err == nil) {
			t.Fatalf("after %d bytes: %+v, %d bytes, %v; after all: %+v, %d bytes, %v", i, h2, n2, err2, h, n, err)
		}
		return
	}
}

func likeTheLibrary(t *testing.T, b []byte, h Header, n int, more bool, err error) {
	source := bytes.NewReader(b)
	stream := bufio.NewReaderSize(source, max(len(b), 16))
	p, theirs := proxyproto.Read(stream)
	if theirs != nil {
		if err == nil && !more {
			t.Fatalf("got %+v, the library says %v", h, theirs)
		}
		return
	}
	stricter := errors.Is(err, errDatagram) || errors.Is(err, errAddition) || errors.Is(err, errChecksum)
	if more || err != nil && !stricter {
		t.Fatalf("got more %v, %v; the library says %+v", more, err, p)
	}
	if used := len(b) - source.Len() - stream.Buffered(); err == nil && used != n {
		t.Fatalf("used %d bytes, the library %d", n, used)
	}
	if tcp, _, ok := p.TCPAddrs(); ok && err == nil && p.Command.IsProxy() {
		if !h.Source.Addr().IsValid() || !tcp.IP.Equal(h.Source.Addr().AsSlice()) || tcp.Port != int(h.Source.Port()) {
			t.Fatalf("got %v, the library %v", h.Source, tcp)
		}
	}
}
