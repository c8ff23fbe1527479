package pulse

import (
	"bytes"
	"strings"
	"testing"
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
