package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// packet is a first packet with its true length.
func packet(code uint32, body string) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(out, code), body...)
}

func TestStartupSize(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in   string
		size int
		ok   bool
		bad  bool
	}{
		{"", 0, false, false},
		{"\x00\x00\x00", 0, false, false},
		{"\x00\x00\x00\x00", 0, false, true},
		{"\x00\x00\x00\x07", 0, false, true},
		{"\x00\x00\x00\x08", 8, true, false},
		{"\x00\x00\x27\x14", MaxStartup, true, false},
		{"\x00\x00\x27\x15", 0, false, true},
		{"\x7f\xff\xff\xff", 0, false, true},
		{"\xff\xff\xff\xff", 0, false, true},
		{"GET /", 0, false, true},
	}
	for _, c := range cases {
		size, ok, err := StartupSize([]byte(c.in))
		if size != c.size || ok != c.ok || (err != nil) != c.bad {
			t.Errorf("%q: %d, %v, %v", c.in, size, ok, err)
		}
	}
}

func TestParseStartup(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		in   []byte
		want *Startup
		code string // of the error
	}{
		{"user", packet(3<<16, "user\x00u\x00\x00"), &Startup{Version: Version30, User: "u", Database: "u"}, ""},
		{
			"everything", packet(3<<16, "user\x00u\x00options\x00-c a=b\x00database\x00d\x00application_name\x00x\x00\x00"),
			&Startup{Version: Version30, User: "u", Database: "d", Params: []Param{{"application_name", "x"}, {"options", "-c a=b"}}}, "",
		},
		{
			"3.2 with protocol options", packet(3<<16|2, "user\x00u\x00_pq_.new\x001\x00_pq_.b\x00\x00\x00"),
			&Startup{Version: Version32, User: "u", Database: "u", Options: []string{"_pq_.new", "_pq_.b"}}, "",
		},
		{"the last of two users", packet(3<<16, "user\x00a\x00user\x00b\x00\x00"), &Startup{Version: Version30, User: "b", Database: "b"}, ""},
		{"an empty database", packet(3<<16, "user\x00u\x00database\x00\x00\x00"), &Startup{Version: Version30, User: "u", Database: "u"}, ""},
		{"SSLRequest", packet(codeSSL, ""), &Startup{SSLRequest: true}, ""},
		{"GSSENCRequest", packet(codeGSS, ""), &Startup{GSSRequest: true}, ""},
		{"cancel", packet(codeCancel, "\x00\x00\x00\x07key!"), &Startup{Cancel: &Cancel{PID: 7, Key: []byte("key!")}}, ""},
		{"cancel, long key", packet(codeCancel, "\x00\x00\x00\x07"+strings.Repeat("k", 256)), &Startup{Cancel: &Cancel{PID: 7, Key: bytes.Repeat([]byte("k"), 256)}}, ""},
		{"cancel without a key", packet(codeCancel, "\x00\x00\x00\x07"), nil, "08P01"},
		{"cancel, key too long", packet(codeCancel, "\x00\x00\x00\x07"+strings.Repeat("k", 257)), nil, "08P01"},
		{"no user", packet(3<<16, "\x00"), nil, "28000"},
		{"an empty user", packet(3<<16, "user\x00\x00\x00"), nil, "28000"},
		{"no terminator", packet(3<<16, ""), nil, "08P01"},
		{"no last terminator", packet(3<<16, "user\x00u\x00"), nil, "08P01"},
		{"a name alone", packet(3<<16, "user\x00"), nil, "08P01"},
		{"more behind it", packet(3<<16, "user\x00u\x00\x00x"), nil, "08P01"},
		{"protocol 2.0", packet(2<<16, ""), nil, "0A000"},
		{"protocol 4.0", packet(4<<16, "user\x00u\x00\x00"), nil, "0A000"},
		{"too short", []byte{0, 0, 0, 4}, nil, "08P01"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseStartup(c.in)
			var bad *StartupError
			switch {
			case c.code != "":
				if !errors.As(err, &bad) || bad.SQLState() != c.code {
					t.Errorf("%+v, %v instead of %s", got, err, c.code)
				}
			case err != nil:
				t.Error(err)
			default:
				if got.User != "" && len(c.want.Params) == 0 {
					c.want.Params = got.Params // nil or empty
				}
				if !reflect.DeepEqual(got, c.want) || len(got.Params) != len(c.want.Params) {
					t.Errorf("%+v instead of %+v", got, c.want)
				}
			}
		})
	}
}

func TestParam(t *testing.T) {
	t.Parallel()
	s, err := ParseStartup(packet(3<<16, "user\x00u\x00b\x002\x00a\x001\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Param("a") != "1" || s.Param("b") != "2" || s.Param("c") != "" {
		t.Errorf("%+v", s.Params)
	}
}

// TestNegotiation: "If the server does not support the minor version requested by the client, it returns a
// NegotiateProtocolVersion message" (PostgreSQL's manual, Protocol Versions).
func TestNegotiation(t *testing.T) {
	t.Parallel()
	cases := []struct {
		version uint32
		options string
		needs   bool
		speaks  Version
		message string
	}{
		{3 << 16, "", false, Version30, ""},
		{3<<16 | 1, "", false, Version30, ""},
		{3<<16 | 2, "", false, Version32, ""},
		{3<<16 | 3, "", true, Version32, "v\x00\x00\x00\x0c\x00\x03\x00\x02\x00\x00\x00\x00"},
		{3<<16 | 9999, "", true, Version32, "v\x00\x00\x00\x0c\x00\x03\x00\x02\x00\x00\x00\x00"},
		{3 << 16, "_pq_.x\x001\x00", true, Version30, "v\x00\x00\x00\x13\x00\x03\x00\x00\x00\x00\x00\x01_pq_.x\x00"},
		{3<<16 | 9999, "_pq_.x\x001\x00_pq_.y\x00\x00", true, Version32, "v\x00\x00\x00\x1a\x00\x03\x00\x02\x00\x00\x00\x02_pq_.x\x00_pq_.y\x00"},
	}
	for _, c := range cases {
		s, err := ParseStartup(packet(c.version, "user\x00u\x00"+c.options+"\x00"))
		if err != nil {
			t.Fatal(err)
		}
		if s.NeedsNegotiation() != c.needs || s.Negotiated() != c.speaks {
			t.Errorf("%d.%d: needs %v, speaks %d.%d", c.version>>16, c.version&0xffff, s.NeedsNegotiation(), s.Negotiated().Major(), s.Negotiated().Minor())
		}
		if got := string(s.AppendNegotiate(nil)); c.needs && got != c.message {
			t.Errorf("%d.%d: %q instead of %q", c.version>>16, c.version&0xffff, got, c.message)
		}
	}
}

// TestStartupRoundTrip parses what is sent to servers.
func TestStartupRoundTrip(t *testing.T) {
	t.Parallel()
	b := AppendStartup([]byte("before"), "user", "database", []Param{{"application_name", "x"}, {"options", ""}})[len("before"):]
	if size, ok, err := StartupSize(b); size != len(b) || !ok || err != nil {
		t.Fatalf("size %d of %d, %v", size, len(b), err)
	}
	s, err := ParseStartup(b)
	if err != nil || s.User != "user" || s.Database != "database" || len(s.Params) != 2 || s.Version != Version30 {
		t.Errorf("%+v, %v", s, err)
	}
	c := AppendCancel(nil, Cancel{PID: 0xfffffffe, Key: []byte("12345")})
	s, err = ParseStartup(c)
	if err != nil || s.Cancel == nil || s.Cancel.PID != 0xfffffffe || string(s.Cancel.Key) != "12345" {
		t.Errorf("%+v, %v", s, err)
	}
}
