package pulse

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"gopgpool/logging"
)

func samplePacket() packet {
	return packet{
		Path: 3, From: 1, To: 2, Port: 9999, Mark: mark{runID{1, 2}, 77}, Echo: mark{runID{3}, 1 << 60}, Host: "server1.example",
	}
}

func TestPacketsComeBack(t *testing.T) {
	for _, host := range []string{"", "h", strings.Repeat("x", maxHost)} {
		for _, key := range []string{"", "key"} {
			p := samplePacket()
			p.Host = host
			b := p.append(nil, key)
			got, err := parse(b)
			if err != nil || got != p || authentic(b, got.Host, key) != nil || len(b) > maxPacket {
				t.Errorf("%+v, %v", got, err)
			}
			if authentic(b, got.Host, key+"x") == nil {
				t.Error("another key is as good")
			}
		}
	}
}

func TestEveryBitIsAuthenticated(t *testing.T) {
	p := samplePacket()
	b := p.append(nil, "key")
	for bit := range len(b) * 8 {
		forged := bytes.Clone(b)
		forged[bit/8] ^= 1 << (bit % 8)
		if got, err := parse(forged); err == nil && authentic(forged, got.Host, "key") == nil {
			t.Errorf("bit %d may be turned", bit)
		}
	}
	for n := range len(b) {
		if got, err := parse(b[:n]); err == nil && authentic(b[:n], got.Host, "key") == nil {
			t.Errorf("may be cut to %d bytes", n)
		}
	}
}

func TestWhosePacket(t *testing.T) {
	p, err := New(Config{
		Self: 2, SelfPgpoolPort: 9999, Key: "key", Known: []NodeName{{1, "server1.example", 9999}, {3, "10.0.0.3", 9999}},
	}, nil, logging.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*packet)
		from   string
		ok     bool
	}{
		{"host as announced", func(*packet) {}, "10.0.0.1", true},
		{"host in other case", func(p *packet) { p.Host = "SERVER1.example" }, "10.0.0.1", true},
		{"host as the address it comes from", func(p *packet) { p.From, p.Host = 3, "server3" }, "10.0.0.3", true},
		{"another host", func(p *packet) { p.From, p.Host = 3, "server3" }, "10.0.0.4", false},
		{"another port", func(p *packet) { p.Port = 9998 }, "10.0.0.1", false},
		{"nobody", func(p *packet) { p.From = 4 }, "10.0.0.1", false},
		{"ourselves", func(p *packet) { p.From = 2 }, "10.0.0.1", false},
		{"for another node", func(p *packet) { p.To = 3 }, "10.0.0.1", false},
	} {
		heard := samplePacket()
		tc.change(&heard)
		n, _, err := p.admit(heard.append(nil, "key"), netip.MustParseAddr(tc.from))
		if (err == nil) != tc.ok || tc.ok && n.Node != int(heard.From) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	p := samplePacket()
	f.Add(p.append(nil, ""))
	f.Add(p.append(nil, "key"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parse(b)
		if err != nil {
			return
		}
		if bare := got.append(nil, ""); !bytes.HasPrefix(b, bare) {
			t.Fatalf("%x becomes %x", b, bare)
		}
		if authentic(b, got.Host, "a key the fuzzer does not know") == nil {
			t.Fatal("forged")
		}
	})
}
