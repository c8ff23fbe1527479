package pcp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
)

// FuzzReader: whatever comes, the reader ends with one of its errors, uses no more memory than bytes came, and what it read is what
// a writer would have written.
func FuzzReader(f *testing.F) {
	f.Add([]byte("L\x00\x00\x00\x04I\x00\x00\x00\x061\x00"), int32(MaxRequest))
	f.Add([]byte("p\x01\x00\x00\x00abc"), int32(MaxReply))
	f.Add([]byte("R\xff\xff\xff\xff"), int32(MaxRequest))
	f.Fuzz(func(t *testing.T, in []byte, limit int32) {
		r := NewReader(bytes.NewReader(in), limit)
		packets, err := readAll(r)
		var le *LengthError
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &le) {
			t.Fatal(err)
		}
		if cap(r.buf) > 4*len(in)+growth {
			t.Fatalf("%d bytes of memory for %d", cap(r.buf), len(in))
		}
		var out []byte
		for _, p := range packets {
			out = AppendPacket(out, p.Type, p.Payload)
		}
		if !bytes.HasPrefix(in, out) {
			t.Fatalf("%q became %q", in, out)
		}
	})
}

// FuzzNotice: what was understood survives being written and read again, but for the lengths and first letters that clients need.
func FuzzNotice(f *testing.F) {
	f.Add([]byte("SERROR\x00CXX000\x00Minforming node info failed\x00Dinvalid node ID : 9\x00Fpcp_worker.c\x00L855\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := ParseNotice(in)
		if err != nil {
			return
		}
		once := AppendNotice(nil, ReplyError, n)
		again, err := ParseNotice(once[headerSize:])
		if err != nil {
			return // a text of broken characters alone, cut to nothing
		}
		if twice := AppendNotice(nil, ReplyError, again); !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q", once, twice)
		}
	})
}

// FuzzConnection: whatever an authorized client or a stranger sends, the connection ends once it has sent all, with whole packets,
// and a stranger changes nothing.
func FuzzConnection(f *testing.F) {
	f.Add([]byte("L\x00\x00\x00\x04J\x00\x00\x00\x089 \x00sd\x00\x00\x00\x061\x00"), true)
	f.Add([]byte("M\x00\x00\x00\x04R\x00\x00\x00\x04"), false)
	f.Add([]byte("A\x00\x00\x00\x05\x00T\x00\x00\x00\x04W\x00\x00\x00\x07-1\x00"), true)
	f.Fuzz(func(t *testing.T, in []byte, authorized bool) {
		w := newWorld()
		s := NewServer(Parts{Control: w, Settings: func() Settings { return Settings{} }, PasswordFile: os.DevNull})
		client, server := net.Pipe()
		c := s.admit(server)
		c.authorized = authorized
		var work sync.WaitGroup
		work.Go(func() { c.serve(t.Context()) })
		work.Go(func() {
			_, _ = client.Write(in) // fails where the server has had enough
			_ = client.Close()
		})
		packets, err := readAll(NewReader(client, MaxReply))
		work.Wait()
		if errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("half a packet behind %d", len(packets))
		}
		if !authorized && len(w.calls) > 0 {
			t.Errorf("a stranger did %q", w.calls)
		}
	})
}
