package mesh

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func sampleHello() hello {
	return hello{
		Version: 1, Keyed: true, Node: 1, To: 2, WdPort: 9000, PgpoolPort: 9999, Run: runID{7}, Nonce: nonce{8},
		Host: "server1", Name: "server1:9999 Linux server1", NodesHash: "hash",
	}
}

func TestHelloComesBack(t *testing.T) {
	for _, h := range []hello{sampleHello(), {Version: 1}, {Version: 1, Host: strings.Repeat("h", maxText), Name: strings.Repeat("n", maxText)}} {
		b := h.append(nil)
		got, err := parseHello(b, 1)
		if err != nil || got != h || len(b) > maxEarly {
			t.Errorf("%+v becomes %+v, %v", h, got, err)
		}
		for n := range len(b) {
			if _, err := parseHello(b[:n], 1); err == nil {
				t.Errorf("cut to %d bytes is a hello", n)
			}
		}
		if _, err := parseHello(append(b, 0), 1); err == nil {
			t.Error("a longer one is a hello")
		}
	}
}

func TestHelloOfAnotherVersion(t *testing.T) {
	got, err := parseHello([]byte(magic+"\x00\x09and what nobody knows yet"), 1)
	if err != nil || got.Version != 9 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReadEarlyIsBounded(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want error
	}{
		{"H\x00\x00\x10\x01", errNotOurs},
		{"GET / HTTP/1.1\r\n\r\n", errNotOurs},
		{"H\x00\x00\x10\x00short", io.ErrUnexpectedEOF},
		{"H\x00", io.ErrUnexpectedEOF},
		{"", io.EOF},
	} {
		if _, _, err := readEarly(strings.NewReader(tc.in)); !errors.Is(err, tc.want) {
			t.Errorf("%q: %v", tc.in, err)
		}
	}
}

// pair returns both ends of one direction of a connection.
func pair(nonce, key string, r role) (*sealer, *opener) {
	t := newTranscript([]byte(nonce), []byte("the other hello"), nil)
	return &sealer{mac: t.frameMAC(key, r)}, &opener{mac: t.frameMAC(key, r)}
}

func readFrame(b []byte, o *opener) ([]byte, error) {
	r := bytes.NewReader(b)
	head, size, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	return readBody(r, o, head, size)
}

func TestFramesAreBoundToTheirPlace(t *testing.T) {
	seal, open := pair("one", testKey, connector)
	back, _ := pair("one", testKey, acceptor)
	elsewhere, _ := pair("two", testKey, connector)
	otherKey, _ := pair("one", "another key", connector)
	first, second := seal.append(nil, kindData, []byte("first")), seal.append(nil, kindData, []byte("second"))
	flipped := bytes.Clone(first)
	flipped[len(flipped)-macSize-1] ^= 1
	for _, tc := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"out of order", second, errMAC},
		{"of the other direction", back.append(nil, kindData, []byte("first")), errMAC},
		{"of another connection", elsewhere.append(nil, kindData, []byte("first")), errMAC},
		{"of another key", otherKey.append(nil, kindData, []byte("first")), errMAC},
		{"changed", flipped, errMAC},
		{"too long", []byte("D\x01\x00\x00\x0112345678"), errFrame},
		{"right", first, nil},
		{"again", first, errMAC},
		{"next", second, nil},
	} {
		if _, err := readFrame(tc.frame, open); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestEveryBitOfAFrameCounts(t *testing.T) {
	seal, _ := pair("one", testKey, connector)
	frame := seal.append(nil, kindData, []byte("payload"))
	for bit := range len(frame) * 8 {
		forged := bytes.Clone(frame)
		forged[bit/8] ^= 1 << (bit % 8)
		_, open := pair("one", testKey, connector)
		if _, err := readFrame(forged, open); err == nil {
			t.Errorf("bit %d may be turned", bit)
		}
	}
}

func FuzzHello(f *testing.F) {
	h := sampleHello()
	f.Add(h.append(nil))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseHello(b, 1)
		if err != nil || got.Version != 1 {
			return
		}
		if !bytes.Equal(got.append(nil), b) {
			t.Fatalf("%x becomes %+v", b, got)
		}
	})
}

func FuzzFrames(f *testing.F) {
	seal, _ := pair("one", "", connector)
	f.Add(seal.append(seal.append(nil, kindAccept, nil), kindData, []byte("text")), false)
	f.Add([]byte("D\xff\xff\xff\xff12345678"), true)
	f.Fuzz(func(t *testing.T, b []byte, keyed bool) {
		key := ""
		if keyed {
			key = "a key the fuzzer does not know"
		}
		_, open := pair("one", key, connector)
		r := bytes.NewReader(b)
		for {
			head, size, err := readHeader(r)
			if err != nil {
				return
			}
			payload, err := readBody(r, open, head, size)
			if err != nil {
				return
			}
			if keyed || len(payload) != size {
				t.Fatalf("%q is a frame", b)
			}
		}
	})
}

func FuzzAcceptStranger(f *testing.F) {
	h := sampleHello()
	h.Node, h.To = 0, 1
	f.Add(appendEarly(appendEarly(nil, kindHello, h.append(nil)), kindProof, make([]byte, macSize)))
	f.Add(appendEarly(nil, kindRefuse, []byte("no\x00\xff")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := testHandshake(1, testKey, bytes.NewReader(b), io.Discard).accept(); err == nil {
			t.Fatal("a stranger was let in")
		}
		if _, err := testHandshake(0, testKey, bytes.NewReader(b), io.Discard).connect(1); err == nil {
			t.Fatal("a stranger was taken for node 1")
		}
	})
}
