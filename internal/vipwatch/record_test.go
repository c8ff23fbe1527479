package vipwatch

import (
	"net/netip"
	"testing"
	"time"
)

const ms = time.Millisecond

func held(host string, first, last time.Duration) Holding {
	return Holding{Host: host, First: first, Last: last, Over: true}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		held []Holding
		want int
	}{
		{"one after the other", []Holding{held("a", 0, 100*ms), held("b", 130*ms, 300*ms)}, 0},
		{"at once", []Holding{held("a", 0, 200*ms), held("b", 150*ms, 300*ms)}, 1},
		{"within", []Holding{held("a", 0, 500*ms), held("b", 150*ms, 300*ms)}, 1},
		{"the same host twice", []Holding{held("a", 0, 200*ms), held("a", 150*ms, 300*ms)}, 0},
		{"three", []Holding{held("a", 0, 200*ms), held("b", 0, 300*ms), held("c", 100*ms, 300*ms)}, 3},
		{"seen once each, apart", []Holding{held("a", 100*ms, 99*ms), held("b", 101*ms, 100*ms)}, 0},
	} {
		r := Record{Held: tc.held}
		if got := r.Overlaps(); len(got) != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestDisputes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		answers []Answer
		want    int
	}{
		{"one after the other", []Answer{{Question: 1, Host: "a"}, {Question: 2, Host: "a"}, {Question: 3, Host: "b"}}, 0},
		{"two answer", []Answer{{Question: 2, At: 50 * ms, Host: "a"}, {Question: 2, At: 51 * ms, Host: "b"}}, 1},
		{"two answer, with an answer read in between", []Answer{{Question: 2, Host: "a"}, {Question: 3, Host: "a"}, {Question: 2, Host: "b"}}, 1},
		{"an announcement between", []Answer{{Question: 2, Host: "a"}, {Host: "b", Announcement: true}}, 0},
		{"somebody else's questions", []Answer{{Host: "a"}, {Host: "b"}}, 0},
		{"a stranger", []Answer{{Question: 2, Host: "a"}, {Question: 2}}, 1},
	} {
		r := Record{Answers: tc.answers}
		if got := r.Disputes(); len(got) != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	selects := []Attempt{
		{50 * ms, 60 * ms, ""},
		{100 * ms, 110 * ms, ""}, // still by the old one
		{150 * ms, 900 * ms, "timeout"},
		{500 * ms, 520 * ms, "refused"},
		{1000 * ms, 1020 * ms, ""},
		{950 * ms, 1030 * ms, ""},
	}
	for _, tc := range []struct {
		name  string
		held  []Holding
		fault time.Duration
		took  time.Duration
		host  string
		ok    bool
	}{
		{"taken over", []Holding{held("a", 0, 200*ms), held("b", 800*ms, 2000*ms)}, 100 * ms, 920 * ms, "b", true},
		{"two in turn", []Holding{held("c", 1000*ms, 2000*ms), held("a", 0, 200*ms), held("b", 800*ms, 900*ms)}, 100 * ms, 920 * ms, "b", true},
		{"kept", []Holding{held("a", 0, 2000*ms)}, 100 * ms, 0, "", false},
		{"raised again by the same", []Holding{held("a", 0, 200*ms), held("a", 800*ms, 2000*ms)}, 100 * ms, 0, "", false},
		{"nobody answers there", []Holding{held("a", 0, 200*ms), held("b", 1100*ms, 2000*ms)}, 100 * ms, 0, "b", false},
	} {
		r := Record{Selects: selects, Held: tc.held}
		took, host, ok := r.Takeover(tc.fault)
		if took != tc.took || host != tc.host || ok != tc.ok {
			t.Errorf("%s: %s by %q, %v", tc.name, took, host, ok)
		}
	}
}

func TestOutage(t *testing.T) {
	t.Parallel()
	attempts := []Attempt{{0, 10 * ms, ""}, {50 * ms, 500 * ms, "timeout"}, {100 * ms, 310 * ms, ""}, {300 * ms, 360 * ms, ""}}
	for _, tc := range []struct {
		name          string
		from, end     time.Duration
		length, began time.Duration
	}{
		{"all", 0, 400 * ms, 300 * ms, 10 * ms},
		{"later", 320 * ms, 400 * ms, 50 * ms, 310 * ms},
		{"nothing at the end", 0, 1000 * ms, 640 * ms, 360 * ms},
	} {
		if length, began := Outage(attempts, tc.from, tc.end); length != tc.length || began != tc.began {
			t.Errorf("%s: %s from %s", tc.name, length, began)
		}
	}
	if length, _ := Outage(nil, 0, time.Second); length != time.Second {
		t.Errorf("no success at all: %s", length)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr("192.168.137.150")
	reply := func(change func(b []byte)) []byte {
		b := question(ip, 7)
		b[ofOperation+1] = arpReply
		copy(b[ofSender:], []byte{1, 2, 3, 4, 5, 6})
		copy(b[ofSenderIP:], ip.AsSlice())
		copy(b[ofTargetIP:], []byte{0, 0, 0, 0})
		who := asker(70_000)
		copy(b[ofTarget:], who[:])
		change(b)
		return b
	}
	for _, tc := range []struct {
		name  string
		frame []byte
		want  Answer
		ok    bool
	}{
		{"reply", reply(func([]byte) {}), Answer{Question: 70_000}, true},
		{"reply to somebody else", reply(func(b []byte) { b[ofTarget]++ }), Answer{}, true},
		{
			"announcement", reply(func(b []byte) { b[ofOperation+1] = arpRequest; copy(b[ofTargetIP:], ip.AsSlice()) }),
			Answer{Announcement: true},
			true,
		},
		{"question of the holder's", reply(func(b []byte) { b[ofOperation+1] = arpRequest; b[ofTargetIP] = 9 }), Answer{}, false},
		{"our question", question(ip, 7), Answer{}, false},
		{"about another address", reply(func(b []byte) { b[ofSenderIP]++ }), Answer{}, false},
		{"no ARP", reply(func(b []byte) { b[ofType] = 0x86 }), Answer{}, false},
		{"cut off", reply(func([]byte) {})[:41], Answer{}, false},
	} {
		_, got, ok := claim(tc.frame, ip)
		if got != tc.want || ok != tc.ok {
			t.Errorf("%s: %v, %v", tc.name, got, ok)
		}
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	b := echo(7, 300)
	if checksum(b) != 0 {
		t.Error("wrong checksum")
	}
	b[0] = echoReply
	packet := append(make([]byte, 20), b...)
	packet[0] = 0x45
	if seq, ok := answered(packet, 7); !ok || seq != 300 {
		t.Errorf("%d, %v", seq, ok)
	}
	for _, bad := range [][]byte{nil, {0x4f}, packet[:24], append([]byte{0x45}, make([]byte, 40)...)} {
		if _, ok := answered(bad, 7); ok {
			t.Errorf("%x is taken for an answer", bad)
		}
	}
}
