package mesh

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// relay is the attacker, or the broken network, between a node and the one who connects to it: frames pass through it.
type relay struct {
	l      net.Listener
	target string
	work   sync.WaitGroup
	frozen atomic.Bool // nothing passes, connections stay
	passed atomic.Int64
	dialed atomic.Int64

	mu     sync.Mutex // guards all below
	conns  []net.Conn
	change func(fromConnector bool, n int, frame []byte) [][]byte // what to pass on for a frame; nil: itself
}

// startRelay listens at from and leads to target.
func startRelay(t *testing.T, from, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l, target: target}
	r.work.Go(r.accept)
	t.Cleanup(r.stop)
	return r
}

func (r *relay) stop() {
	r.l.Close()
	r.cut()
	r.work.Wait()
}

// cut closes all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func (r *relay) attack(change func(fromConnector bool, n int, frame []byte) [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = change
}

func (r *relay) accept() {
	for {
		in, err := r.l.Accept()
		if err != nil {
			return
		}
		r.dialed.Add(1)
		out, err := net.Dial("tcp", r.target)
		if err != nil {
			in.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, in, out)
		r.mu.Unlock()
		r.work.Go(func() { r.forward(in, out, true) })
		r.work.Go(func() { r.forward(out, in, false) })
	}
}

func (r *relay) forward(from, to net.Conn, fromConnector bool) {
	defer from.Close()
	end := to.Close
	defer func() { _ = end() }()
	for n := 0; ; n++ {
		frame, err := rawFrame(from, n >= 2, true)
		frozen := r.frozen.Load()
		if frozen {
			end = func() error { return nil } // not even the end of a connection passes
		}
		if err != nil {
			return
		}
		if frozen {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		r.mu.Lock()
		change := r.change
		r.mu.Unlock()
		frames := [][]byte{frame}
		if change != nil {
			frames = change(fromConnector, n, frame)
		}
		for _, f := range frames {
			if _, err := to.Write(f); err != nil {
				return
			}
			r.passed.Add(1)
		}
	}
}
