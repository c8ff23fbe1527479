package pcp

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestAppendStrings(t *testing.T) {
	for _, tc := range []struct {
		typ    byte
		fields []string
		want   string
	}{
		{TypeNodeCount, nil, "L\x00\x00\x00\x04"},
		{ReplyNodeCount, []string{TagComplete, "2"}, "l\x00\x00\x00\x16CommandComplete\x002\x00"},
		{ReplyAuthenticate, []string{AuthenticationOK}, "r\x00\x00\x00\x15AuthenticationOK\x00"},
		{'i', []string{"a\x00b", ""}, "i\x00\x00\x00\x07a\x00\x00"},
	} {
		if got := string(AppendStrings(nil, tc.typ, tc.fields...)); got != tc.want {
			t.Errorf("%c: %q, want %q", tc.typ, got, tc.want)
		}
	}
}

func TestReader(t *testing.T) {
	long := strings.Repeat("x", MaxRequest-4)
	for _, tc := range []struct {
		name, in string
		limit    int32
		want     []Packet
		err      error
	}{
		{"nothing", "", MaxRequest, nil, io.EOF},
		{"two", "L\x00\x00\x00\x04I\x00\x00\x00\x061\x00", MaxRequest, []Packet{{'L', nil}, {'I', []byte("1\x00")}}, io.EOF},
		{"greatest", "R\x00\x00\x01\x03" + long, MaxRequest, []Packet{{'R', []byte(long)}}, io.EOF},
		{"too long", "R\x00\x00\x01\x04" + long + "x", MaxRequest, nil, &LengthError{260}},
		{"too short", "R\x00\x00\x00\x03", MaxRequest, nil, &LengthError{3}},
		{"negative", "R\xff\xff\xff\xff", MaxRequest, nil, &LengthError{-1}},
		{"half a header", "R\x00\x00", MaxRequest, nil, io.ErrUnexpectedEOF},
		{"half a payload", "R\x00\x00\x00\x08ab", MaxRequest, nil, io.ErrUnexpectedEOF},
		{"no payload", "R\x00\x00\x00\x08", MaxRequest, nil, io.ErrUnexpectedEOF},
		{"reply too long", "p\x01\x00\x00\x01", MaxReply, nil, &LengthError{MaxReply + 1}},
		{"long promise", "p\x01\x00\x00\x00abc", MaxReply, nil, io.ErrUnexpectedEOF},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			r := NewReader(wrap(strings.NewReader(tc.in)), tc.limit)
			got, err := readAll(r)
			if !equalPackets(got, tc.want) || !reflect.DeepEqual(err, tc.err) {
				t.Errorf("%s: %q, %v", tc.name, got, err)
			}
			if cap(r.buf) > growth {
				t.Errorf("%s: %d bytes of memory for a promise", tc.name, cap(r.buf))
			}
		}
	}
}

func TestReaderLongReply(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 100_000)
	r := NewReader(bytes.NewReader(AppendPacket(AppendPacket(nil, 'w', payload), 'l', nil)), MaxReply)
	p, err := r.Next()
	if err != nil || !bytes.Equal(p.Payload, payload) {
		t.Errorf("%d bytes, %v", len(p.Payload), err)
	}
	if p, err = r.Next(); err != nil || p.Type != 'l' || len(p.Payload) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestReaderAwait(t *testing.T) {
	r := NewReader(strings.NewReader("L\x00\x00\x00\x04"), MaxRequest)
	if err := r.Await(); err != nil {
		t.Error(err)
	}
	if p, err := r.Next(); err != nil || p.Type != 'L' {
		t.Errorf("%+v, %v", p, err)
	}
	if err := r.Await(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// readAll reads until there is an error, which it returns.
func readAll(r *Reader) ([]Packet, error) {
	var out []Packet
	for {
		p, err := r.Next()
		if err != nil {
			return out, err
		}
		out = append(out, Packet{p.Type, bytes.Clone(p.Payload)})
	}
}

func equalPackets(a, b []Packet) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Type != b[i].Type || !bytes.Equal(a[i].Payload, b[i].Payload) {
			return false
		}
	}
	return true
}

func TestSplitStrings(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"a\x00", []string{"a"}},
		{"a\x00\x00b\x00", []string{"a", "", "b"}},
		{"9 \x00s", []string{"9 ", "s"}},
		{"\x00", []string{""}},
	} {
		if got := SplitStrings([]byte(tc.in)); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%q: %q", tc.in, got)
		}
	}
}

func TestNotice(t *testing.T) {
	captured := "SERROR\x00CXX000\x00Minforming node info failed\x00Dinvalid node ID : 9\x00Fpcp_worker.c\x00L855\x00\x00"
	n, err := ParseNotice([]byte(captured))
	want := Notice{
		Severity: "ERROR", State: "XX000", Message: "informing node info failed", Detail: "invalid node ID : 9",
		File: "pcp_worker.c", Line: "855",
	}
	if err != nil || n != want || n.Fatal() {
		t.Errorf("%+v, %v", n, err)
	}
	got := AppendNotice(nil, ReplyError, n)
	if string(got) != "E\x00\x00\x00\x57"+captured {
		t.Errorf("%q", got)
	}
}

func TestNoticeTexts(t *testing.T) {
	long := strings.Repeat("é", 200)
	for _, tc := range []struct{ in, want string }{
		{"Some server", "some server"},
		{"PCP: x", "PCP: x"},
		{"a\x00b", "a"},
		{long, long[:254]},
	} {
		p := AppendNotice(nil, ReplyError, Notice{Severity: SeverityFatal, Message: tc.in})
		n, err := ParseNotice(p[headerSize:])
		if err != nil || n.Message != tc.want || !n.Fatal() {
			t.Errorf("%q: %+v, %v", tc.in, n, err)
		}
	}
}

func TestParseNoticeMalformed(t *testing.T) {
	for _, in := range []string{"", "\x00", "S", "SERROR", "SERROR\x00\x00", "Mx\x00\x00", "S\x00Mx\x00\x00"} {
		if n, err := ParseNotice([]byte(in)); err == nil {
			t.Errorf("%q: %+v", in, n)
		}
	}
}

func TestDigest(t *testing.T) {
	got := Digest(StoredDigest("secret"), "pcpadm", [SaltSize]byte{0x26, 0x47, 0x3b, 0x8a})
	if want := "baa2b7e5b98c451b054ff158a38d1aa8"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
