package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
)

// testLog is a log that goes into a buffer.
func testLog(t *testing.T) (logging.Logger, *bytes.Buffer) {
	t.Helper()
	var text bytes.Buffer
	c := logging.Default()
	c.Writer = &text
	out, err := logging.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return out.Logger(), &text
}

// leaveSocket makes a socket file nobody listens at.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestListenPCP(t *testing.T) {
	dir, missing, port := t.TempDir(), filepath.Join(t.TempDir(), "missing"), pgcluster.FreePort(t)
	path := filepath.Join(dir, fmt.Sprintf(".s.PGSQL.%d", port))
	leaveSocket(t, path)
	log, text := testLog(t)
	l, err := listenPCP(&conf.Connections{
		PcpListenAddresses: []string{"127.0.0.1"}, PcpPort: port, PcpSocketDir: []string{dir, missing},
	}, log)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := l.take()
	if err != nil || len(listeners) != 2 {
		t.Fatalf("%d listeners, %v", len(listeners), err)
	}
	for _, x := range listeners {
		conn, err := net.Dial(x.Addr().Network(), x.Addr().String())
		if err != nil {
			t.Error(err)
			continue
		}
		_ = conn.Close()
	}
	if !strings.Contains(text.String(), missing) {
		t.Errorf("log: %s", text)
	}

	// A second server leaves the sockets of the first alone.
	text.Reset()
	c := &conf.Connections{PcpListenAddresses: []string{"127.0.0.1"}, PcpPort: port, PcpSocketDir: []string{dir}}
	if _, err := listenPCP(c, log); !errors.Is(err, errNoPCPSocket) {
		t.Errorf("second server: %v", err)
	}
	if n := strings.Count(text.String(), "address already in use"); n != 2 {
		t.Errorf("log: %s", text)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	for _, x := range listeners {
		_ = x.Close()
	}
	l.removeFiles()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file is left: %v", err)
	}
}

func TestListenPCPNowhere(t *testing.T) {
	log, _ := testLog(t)
	l, err := listenPCP(&conf.Connections{PcpPort: 21208}, log)
	if err != nil {
		t.Fatal(err)
	}
	if listeners, err := l.take(); err != nil || len(listeners) != 0 {
		t.Errorf("%d listeners, %v", len(listeners), err)
	}
}
