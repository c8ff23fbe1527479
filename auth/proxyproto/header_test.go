package proxyproto

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// v2 is a header of version 2: command and family, then the rest.
func v2(command, family byte, rest ...string) string {
	all := strings.Join(rest, "")
	b := append([]byte(signature2), 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(all)))
	return string(b) + all
}

// addition is one TLV.
func addition(typ byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{typ}, uint16(len(value)))) + value
}

// summed puts the right checksum into a header whose last addition is a checksum.
func summed(header string) string {
	b := []byte(header)
	binary.BigEndian.PutUint32(b[len(b)-4:], sum(b, len(b)-4))
	return string(b)
}

const (
	four = "\xc0\x00\x02\x07\x0a\x00\x00\x01\xd4\x31\x15\x38" // 192.0.2.7:54321 to 10.0.0.1:5432
	six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xd4\x31\x15\x38"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07" +
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01\xd4\x31\x15\x38"
)

type head struct{ header, want string }

// good tells that the header is one.
func (h head) good() bool {
	return h.want == "local" || strings.Contains(h.want, ":5432") || strings.Contains(h.want, ":65535")
}

// heads are headers and what they say: "local", two addresses, or an error's text.
func heads() map[string]head {
	const is4, is6 = "192.0.2.7:54321 10.0.0.1:5432", "[2001:db8::7]:54321 [2001:db8::1]:5432"
	unix := strings.Repeat("/tmp/x\x00", 31)[:216]
	return map[string]head{
		"1 TCP4":                     {"PROXY TCP4 192.0.2.7 10.0.0.1 54321 5432\r\n", is4},
		"1 TCP6":                     {"PROXY TCP6 2001:db8::7 2001:db8::1 54321 5432\r\n", is6},
		"1 TCP6 of mapped addresses": {"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 54321 5432\r\n", is4},
		"1 UNKNOWN":                  {"PROXY UNKNOWN\r\n", "local"},
		"1 UNKNOWN with addresses":   {"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", "local"},
		"1 longest":                  {"PROXY UNKNOWN" + strings.Repeat(" ", maxLine-15) + "\r\n", "local"},
		"1 port 0":                   {"PROXY TCP4 192.0.2.7 10.0.0.1 0 65535\r\n", "192.0.2.7:0 10.0.0.1:65535"},
		"1 too long":                 {"PROXY UNKNOWN" + strings.Repeat(" ", maxLine-14) + "\r\n", "too long"},
		"1 no end":                   {"PROXY " + strings.Repeat("x", maxLine), "too long"},
		"1 LF alone":                 {"PROXY TCP4 192.0.2.7 10.0.0.1 54321 5432\n", "must end with"},
		"1 UDP":                      {"PROXY UDP4 192.0.2.7 10.0.0.1 54321 5432\r\n", "family"},
		"1 lower case":               {"proxy TCP4 192.0.2.7 10.0.0.1 54321 5432\r\n", "does not begin"},
		"1 two spaces":               {"PROXY TCP4  192.0.2.7 10.0.0.1 54321 5432\r\n", "family"},
		"1 missing port":             {"PROXY TCP4 192.0.2.7 10.0.0.1 54321\r\n", "family"},
		"1 more behind the ports":    {"PROXY TCP4 192.0.2.7 10.0.0.1 54321 5432 x\r\n", "family"},
		"1 port 65536":               {"PROXY TCP4 192.0.2.7 10.0.0.1 65536 5432\r\n", "port"},
		"1 negative port":            {"PROXY TCP4 192.0.2.7 10.0.0.1 -1 5432\r\n", "port"},
		"1 port with a zero before":  {"PROXY TCP4 192.0.2.7 10.0.0.1 0543 5432\r\n", "port"},
		"1 address with zeros":       {"PROXY TCP4 192.000.002.007 10.0.0.1 54321 5432\r\n", "address"},
		"1 address of a family":      {"PROXY TCP4 2001:db8::7 10.0.0.1 54321 5432\r\n", "address"},
		"1 address with a zone":      {"PROXY TCP6 fe80::1%eth0 2001:db8::1 54321 5432\r\n", "address"},
		"1 a name":                   {"PROXY TCP4 localhost 10.0.0.1 54321 5432\r\n", "address"},
		"1 a zero byte":              {"PROXY TCP4 192.0.2.7\x00 10.0.0.1 54321 5432\r\n", "address"},

		"2 TCP4":                     {v2(1, 0x11, four), is4},
		"2 TCP6":                     {v2(1, 0x21, six), is6},
		"2 TCP6 of mapped addresses": {v2(1, 0x21, mapped), is4},
		"2 LOCAL":                    {v2(0, 0), "local"},
		"2 LOCAL with addresses":     {v2(0, 0x11, four), "local"},
		"2 LOCAL with garbage":       {v2(0, 0, "\x03\x00\x09"), "local"},
		"2 Unix":                     {v2(1, 0x31, unix), "local"},
		"2 additions":                {v2(1, 0x11, four, addition(4, "..."), addition(0x20, "tls"), addition(0xea, "")), is4},
		"2 longest":                  {v2(1, 0x11, four, addition(0xea, strings.Repeat("x", maxBlock-12-3))), is4},
		"2 checksum":                 {summed(v2(1, 0x11, four, addition(3, "...."))), is4},
		"2 checksum behind":          {summed(v2(1, 0x21, six, addition(4, "...."), addition(3, "...."))), is6},
		"2 wrong checksum":           {v2(1, 0x11, four, addition(3, "....")), "wrong checksum"},
		"2 wrong checksum of Unix":   {v2(1, 0x31, unix, addition(3, "....")), "wrong checksum"},
		"2 short checksum":           {v2(1, 0x11, four, addition(3, "...")), "wrong checksum"},
		"2 addition without length":  {v2(1, 0x11, four, "\xea\x00"), "cut off"},
		"2 addition cut off":         {v2(1, 0x11, four, "\xea\x00\x02x"), "cut off"},
		"2 too long":                 {v2(1, 0x11, strings.Repeat("x", maxBlock+1)), "too long"},
		"2 short TCP4":               {v2(1, 0x11, four[:11]), "length"},
		"2 short TCP6":               {v2(1, 0x21, six[:35]), "length"},
		"2 short Unix":               {v2(1, 0x31, unix[:215]), "length"},
		"2 UDP":                      {v2(1, 0x12, four), "datagram"},
		"2 Unix datagram":            {v2(1, 0x32, unix), "datagram"},
		"2 no family":                {v2(1, 0), "family"},
		"2 unknown family":           {v2(1, 0x41, six), "family"},
		"2 unknown transport":        {v2(1, 0x13, four), "family"},
		"2 unknown command":          {v2(2, 0x11, four), "command"},
		"2 version 1":                {signature2 + "\x11\x11\x00\x0c" + four, "command"},
		"2 version 3":                {signature2 + "\x31\x11\x00\x0c" + four, "command"},

		"startup packet": {"\x00\x00\x00\x08\x00\x03\x00\x00", "does not begin"},
		"SSLRequest":     {"\x00\x00\x00\x08\x04\xd2\x16\x2f", "does not begin"},
		"TLS":            {"\x16\x03\x01", "does not begin"},
		"HTTP":           {"POST / HTTP/1.1\r\n", "does not begin"},
		"almost 1":       {"PROXYING", "does not begin"},
		"almost 2":       {"\r\n\r\n\x00\r\nQUIT\r\n", "does not begin"},
	}
}

func show(h Header, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case h.Local:
		return "local"
	default:
		return h.Source.String() + " " + h.Destination.String()
	}
}

// TestParse gives each header whole, with bytes behind it, and in all its beginnings.
func TestParse(t *testing.T) {
	for name, c := range heads() {
		t.Run(name, func(t *testing.T) {
			b := []byte(c.header)
			h, n, more, err := Parse(b)
			if got := show(h, err); !strings.Contains(got, c.want) || more {
				t.Fatalf("got %q, more %v, want %q", got, more, c.want)
			}
			if want := len(b); err == nil && n != want || err != nil && (n != 0 || h != Header{}) {
				t.Errorf("used %d of %d bytes, %+v", n, want, h)
			}
			h2, n2, more, err2 := Parse(append(slices.Clone(b), "\x00\x00\x00\x08"...))
			if h2 != h || n2 != n || more || show(h2, err2) != show(h, err) {
				t.Errorf("with bytes behind it: %s, %d bytes, more %v", show(h2, err2), n2, more)
			}
			for i := range b {
				if h, n, more, err := Parse(b[:i]); c.good() && (!more || err != nil || n != 0 || h != Header{}) {
					t.Fatalf("the first %d bytes: %s, %d bytes, more %v", i, show(h, err), n, more)
				}
			}
		})
	}
}

func TestMissing(t *testing.T) {
	if _, _, _, err := Parse([]byte{0}); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v", err)
	}
	if _, _, _, err := Parse([]byte(v2(1, 0x12, four))); err == nil || errors.Is(err, ErrMissing) {
		t.Errorf("got %v", err)
	}
}

// TestChecksum compares the checksum with the example of RFC 3720: 32 bytes of zeros.
func TestChecksum(t *testing.T) {
	if got, want := sum(make([]byte, 32), 7), uint32(0x8a9136aa); got != want {
		t.Errorf("got %08x, want %08x", got, want)
	}
}
