package hosts

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// datagrams opens a UDP socket of the host.
func datagrams(t *testing.T, h *Host) (conn *net.UDPConn) {
	t.Helper()
	err := h.Within(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 7000})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// arrives tells whether a datagram sent on one socket comes to the other one. One that is expected is waited for as long as it takes.
func arrives(t *testing.T, from *net.UDPConn, to *Host, at *net.UDPConn, expected bool) bool {
	t.Helper()
	if _, err := from.WriteToUDP([]byte("hello"), &net.UDPAddr{IP: to.Address().AsSlice(), Port: 7000}); err != nil {
		t.Fatal(err)
	}
	limit := 300 * time.Millisecond
	if expected {
		limit = patience
	}
	if err := at.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	_, _, err := at.ReadFromUDP(make([]byte, 10))
	return err == nil
}

func TestOneWay(t *testing.T) {
	w := start(t, "a", "b")
	a, b := w.Host("a"), w.Host("b")
	onA, onB := datagrams(t, a), datagrams(t, b)
	for _, step := range []struct {
		name   string
		do     func() error
		ab, ba bool
	}{
		{"whole", func() error { return nil }, true, true},
		{"a to b blocked", func() error { return a.BlockTo(b) }, false, true},
		{"again whole", func() error { return a.UnblockTo(b) }, true, true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if ab, ba := arrives(t, onA, b, onB, step.ab), arrives(t, onB, a, onA, step.ba); ab != step.ab || ba != step.ba {
			t.Errorf("%s: a to b %v, b to a %v", step.name, ab, ba)
		}
	}
}

func TestSharesOfOneHost(t *testing.T) {
	disk := t.TempDir()
	all := specs("a", "b")
	all[0].Shares = []Share{{Source: disk, Target: "/var/lib/disk", Writable: true}}
	w := StartTest(t, Options{Hosts: all})
	run(t, w.Host("a"), "root", "echo kept >/var/lib/disk/file")
	if text, err := os.ReadFile(filepath.Join(disk, "file")); err != nil || string(text) != "kept\n" {
		t.Errorf("%q, %v", text, err)
	}
	if code := status(t, w.Host("b"), "root", "test -e /var/lib/disk"); code != "1" {
		t.Error("the other host has it too")
	}
}
