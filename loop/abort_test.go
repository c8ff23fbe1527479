package loop

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// After Abort nothing that the peer has not taken reaches it, and the owner meets an error instead of waiting.
func TestAbort(t *testing.T) {
	onEngines(t, func(w *world) {
		const much = 8 << 20
		var conn *Conn
		blocked := make(chan struct{})
		written := 0
		peer, done := w.connected("writer", func(t *Task, c *Conn) {
			conn = c
			n, err := c.TryWrite(make([]byte, much))
			if err != nil || n == much {
				w.Errorf("TryWrite: %d, %v", n, err)
			}
			written = n
			close(blocked)
			cause := t.Wait(time.Time{}, Interest{Conn: c, Read: true})
			if cause != Ready || !c.Readable() || !c.HungUp() {
				w.Errorf("wait ended by %v", cause)
			}
			if n, err := c.TryRead(make([]byte, 1)); err == nil {
				w.Errorf("TryRead: %d, %v", n, err)
			}
			if n, err := c.TryWrite([]byte{0}); err == nil {
				w.Errorf("TryWrite: %d, %v", n, err)
			}
			c.Abort() // again: nothing happens
			c.Close()
			c.Abort()
		})
		<-blocked
		w.do(func() { conn.Abort() })
		<-done
		got, err := io.Copy(io.Discard, peer)
		if got > int64(written) { // a unix socket has handed over what it took
			w.Errorf("the peer got %d of %d bytes", got, written)
		}
		if err != nil && !errors.Is(err, unix.ECONNRESET) {
			w.Error(err)
		}
	})
}

// What a TCP socket has taken and not sent is thrown away, and the peer is told by a reset.
func TestAbortTCP(t *testing.T) {
	onEpoll(t, func(w *world) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.Fatal(err)
		}
		defer ln.Close()
		written := 0
		done := w.start("writer", func(t *Task) {
			c, err := t.Dial(ln.Addr(), time.Time{})
			if err != nil {
				w.Error(err)
				return
			}
			written, err = c.TryWrite(make([]byte, 64<<20))
			if err != nil {
				w.Error(err)
			}
			c.Abort()
			c.Close()
		})
		peer, err := ln.Accept()
		if err != nil {
			w.Fatal(err)
		}
		defer peer.Close()
		<-done
		got, err := io.Copy(io.Discard, peer)
		if !errors.Is(err, unix.ECONNRESET) {
			w.Errorf("the peer read %d bytes, then %v", got, err)
		}
		if got >= int64(written) {
			w.Errorf("the peer got %d of %d bytes", got, written)
		}
	})
}

// A connection attempt that nobody answers ends with Abort, not with its deadline.
func TestAbortDial(t *testing.T) {
	onEpoll(t, func(w *world) {
		fd, addr := w.listen("tcp4", "127.0.0.1:0", 0)
		defer unix.Close(fd)
		for range 8 { // the queue is full then, and nothing answers further attempts
			if c, err := net.DialTimeout("tcp4", addr.String(), 50*time.Millisecond); err == nil { // a busy machine may not even have tried
				defer c.Close()
			}
		}
		var task *Task
		dialling := make(chan struct{})
		done := w.start("dialler", func(t *Task) {
			task = t
			close(dialling)
			c, err := t.Dial(addr, time.Time{})
			if !errors.Is(err, ErrAborted) {
				w.Errorf("Dial: %v, %v", c, err)
			}
		})
		<-dialling
		w.do(func() { task.EachConn(func(c *Conn) { c.Abort() }) })
		<-done
	})
}
