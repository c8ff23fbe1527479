package mesh

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

func testConfig(self int, key string) Config {
	c := Config{Self: self, Key: key, Version: 1, Name: fmt.Sprint("node ", self)}
	for i := range 3 {
		c.Nodes = append(c.Nodes, Endpoint{Host: fmt.Sprint("server", i), WdPort: 9000 + i, PgpoolPort: 9990 + i})
	}
	return c
}

func testHandshake(self int, key string, in io.Reader, out io.Writer) *handshake {
	c := testConfig(self, key)
	return &handshake{config: &c, run: runID{byte(self) + 1}, in: bufio.NewReader(in), out: out, at: func(string) bool { return false }}
}

// outcome is what both sides of a handshake got.
type outcome struct {
	connector, acceptor       session
	connectorErr, acceptorErr error
}

// meet runs a handshake between two nodes. Every frame passes change, which may return another one, or nil to end the connection.
func meet(connecting, accepting *handshake, to int, change func(fromConnector bool, n int, frame []byte) []byte) outcome {
	near, attackerNear := net.Pipe()
	far, attackerFar := net.Pipe()
	connecting.in, connecting.out = bufio.NewReader(near), near
	accepting.in, accepting.out = bufio.NewReader(far), far
	done := make(chan struct{}, 3)
	forward := func(from, dst net.Conn, fromConnector bool) {
		defer func() { done <- struct{}{} }()
		defer dst.Close()
		keyed := connecting.config.Key != ""
		for n := 0; ; n++ {
			frame, err := rawFrame(from, fromConnector && n >= 2, keyed)
			if err != nil {
				return
			}
			if frame = change(fromConnector, n, frame); frame == nil {
				return
			}
			if _, err := dst.Write(frame); err != nil {
				return
			}
		}
	}
	go forward(attackerNear, attackerFar, true)
	go forward(attackerFar, attackerNear, false)
	var o outcome
	go func() {
		o.acceptor, o.acceptorErr = accepting.accept()
		far.Close()
		done <- struct{}{}
	}()
	o.connector, o.connectorErr = connecting.connect(to)
	if o.connectorErr != nil {
		near.Close()
	}
	for range 2 { // the acceptor and what leads to it have ended
		<-done
	}
	near.Close()
	attackerNear.Close()
	attackerFar.Close()
	<-done
	return o
}

// rawFrame reads a frame without understanding it.
func rawFrame(r io.Reader, established, keyed bool) ([]byte, error) {
	head := make([]byte, earlyHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	rest := int(head[1])<<24 | int(head[2])<<16 | int(head[3])<<8 | int(head[4])
	if established && head[0] != kindRefuse {
		rest += sessionHeader - earlyHeader
		if keyed {
			rest += macSize
		}
	}
	frame := append(head, make([]byte, rest)...)
	_, err := io.ReadFull(r, frame[earlyHeader:])
	return frame, err
}

func unchanged(_ bool, _ int, frame []byte) []byte { return frame }

func TestHandshake(t *testing.T) {
	for _, key := range []string{testKey, ""} {
		o := meet(testHandshake(0, key, nil, nil), testHandshake(1, key, nil, nil), 1, unchanged)
		if o.connectorErr != nil || o.acceptorErr != nil {
			t.Fatalf("%v, %v", o.connectorErr, o.acceptorErr)
		}
		if o.connector.hello.Node != 1 || o.acceptor.hello.Node != 0 {
			t.Errorf("%+v", o)
		}
		if _, err := readFrame(o.connector.seal.append(nil, kindData, []byte("x")), &o.acceptor.open); err != nil {
			t.Errorf("frame to the acceptor: %v", err)
		}
		if _, err := readFrame(o.acceptor.seal.append(nil, kindData, []byte("x")), &o.connector.open); err != nil {
			t.Errorf("frame to the connector: %v", err)
		}
	}
}

// TestWhoeverChangesAnythingBreaksTheHandshake turns each bit of each frame of a handshake.
func TestWhoeverChangesAnythingBreaksTheHandshake(t *testing.T) {
	turned := 0
	for _, side := range []bool{true, false} {
		for frame := range 3 {
			for bit := 0; ; bit++ {
				done := false
				o := meet(testHandshake(0, testKey, nil, nil), testHandshake(1, testKey, nil, nil), 1,
					func(fromConnector bool, n int, b []byte) []byte {
						if fromConnector != side || n != frame || bit/8 >= len(b) {
							return b
						}
						done = true
						if bit/8 > 0 && bit/8 < earlyHeader { // another length: the rest would be waited for
							return nil
						}
						b = bytes.Clone(b)
						b[bit/8] ^= 1 << (bit % 8)
						return b
					})
				if !done {
					break
				}
				turned++
				if o.acceptorErr == nil {
					t.Fatalf("from the connector %v, frame %d, bit %d: let in", side, frame, bit)
				}
				if !side && o.connectorErr == nil {
					t.Fatalf("frame %d of the acceptor, bit %d: taken", frame, bit)
				}
				bit += 6 // a bit of every byte or so, another one each time
			}
		}
	}
	if turned < 300 {
		t.Errorf("only %d bits turned", turned)
	}
}

func TestRecordedHandshakeIsWorthNothing(t *testing.T) {
	var said []byte
	meet(testHandshake(0, testKey, nil, nil), testHandshake(1, testKey, nil, nil), 1, func(fromConnector bool, _ int, b []byte) []byte {
		if fromConnector {
			said = append(said, b...)
		}
		return b
	})
	_, err := testHandshake(1, testKey, bytes.NewReader(said), io.Discard).accept()
	if !errors.As(err, new(*refusal)) || !strings.Contains(err.Error(), "wd_authkey") {
		t.Errorf("%v", err)
	}
}

// TestReflection sends everything a node says back to it, from its own other end, and from a mirror.
func TestReflection(t *testing.T) {
	o := meet(testHandshake(0, testKey, nil, nil), testHandshake(0, testKey, nil, nil), 1, unchanged)
	if o.connectorErr == nil || o.acceptorErr == nil {
		t.Error("a node takes itself for another one")
	}
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(far, far) }()
	_, err := testHandshake(0, testKey, near, near).connect(1)
	near.Close()
	far.Close()
	if err == nil {
		t.Error("a node takes its mirror image for another one")
	}
	tr := newTranscript([]byte("a"), []byte("b"), nil)
	if bytes.Equal(tr.proof(testKey, connector), tr.proof(testKey, acceptor)) {
		t.Error("both sides prove the same")
	}
}

// TestMiddleOfTLS has two sides that are not on the same TLS channel.
func TestMiddleOfTLS(t *testing.T) {
	a, b := testHandshake(0, testKey, nil, nil), testHandshake(1, testKey, nil, nil)
	a.channel, b.channel = []byte("to the attacker"), []byte("from the attacker")
	if o := meet(a, b, 1, unchanged); o.acceptorErr == nil || o.connectorErr == nil {
		t.Error("the one in the middle is not noticed")
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name       string
		change     func(connecting, accepting *Config)
		to         int
		wantReason string
	}{
		{"key", func(c, _ *Config) { c.Key = "other" }, 1, "authentication failed for add node from hostname:\"server0\" port:9000 pgpool_port:9990"},
		{"no key there", func(_, a *Config) { a.Key = "" }, 1, "authentication failed"},
		{"no key here", func(c, _ *Config) { c.Key = "" }, 1, "authentication failed"},
		{"version", func(c, _ *Config) { c.Version = 7 }, 1, "protocol version 7 is not understood, this node speaks version 1"},
		{"wd_port", func(c, _ *Config) { c.Nodes[0].WdPort = 1 }, 1, "rejected: wd_port0 is 9000 on node 1"},
		{"pgpool_port", func(c, _ *Config) { c.Nodes[0].PgpoolPort = 1 }, 1, "rejected: pgpool_port0 is 9990 on node 1"},
		{"host", func(c, _ *Config) { c.Nodes[0].Host = "elsewhere" }, 1, `rejected: hostname0 is "server0" on node 1`},
		{"unknown", func(_, a *Config) { a.Nodes[0].WdPort = 0 }, 1, "there is no node 0 in the configuration of node 1"},
		{"hash", func(c, a *Config) { c.NodesHash, a.NodesHash = "h1", "h2" }, 1, `the lists of nodes differ, "h1" on node 0, "h2" on node 1`},
		{"same id", func(c, _ *Config) { c.Self = 1 }, 1, `pgpool node id 1 of "node 0" is also the id of the local node 1, "node 1"`},
		{"wrong host behind the name", func(*Config, *Config) {}, 2, "it looks for node 2, but this is node 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := testHandshake(0, testKey, nil, nil), testHandshake(1, testKey, nil, nil)
			tc.change(a.config, b.config)
			o := meet(a, b, tc.to, unchanged)
			var theirs *refused
			if !errors.As(o.connectorErr, &theirs) || !strings.Contains(theirs.text, tc.wantReason) {
				t.Errorf("the connector was told %v, want %q", o.connectorErr, tc.wantReason)
			}
			var ours *refusal
			if !errors.As(o.acceptorErr, &ours) || ours.event.Message == "" {
				t.Errorf("the acceptor says %v", o.acceptorErr)
			}
		})
	}
}

func TestConnectorRefuses(t *testing.T) {
	a, b := testHandshake(0, testKey, nil, nil), testHandshake(1, testKey, nil, nil)
	a.config.Nodes[1].PgpoolPort = 5 // the acceptor's own rules find nothing wrong
	o := meet(a, b, 1, unchanged)
	var theirs *refused
	if !errors.As(o.acceptorErr, &theirs) || !strings.Contains(theirs.text, "pgpool_port1 is 5 on node 0") {
		t.Errorf("the acceptor was told %v", o.acceptorErr)
	}
	if !errors.As(o.connectorErr, new(*refusal)) {
		t.Errorf("the connector says %v", o.connectorErr)
	}
}

func TestHostMayBeAnAddress(t *testing.T) {
	a, b := testHandshake(0, testKey, nil, nil), testHandshake(1, testKey, nil, nil)
	a.config.Nodes[0].Host = "SERVER0.lan"
	asked := ""
	b.at = func(host string) bool { asked = host; return true }
	if o := meet(a, b, 1, unchanged); o.acceptorErr != nil || o.connectorErr != nil || asked != "server0" {
		t.Errorf("%v, %v, asked for %q", o.connectorErr, o.acceptorErr, asked)
	}
}

func TestReasonsArePrintable(t *testing.T) {
	if got := printable([]byte("a\nb\x1b[2J\xffc" + strings.Repeat("x", 2*maxWhy))); strings.ContainsAny(got, "\n\x1b") || len(got) > maxWhy {
		t.Errorf("%q", got)
	}
}
