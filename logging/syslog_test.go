package logging

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// syslogServer is the receiving end of a local syslog.
type syslogServer struct {
	t    *testing.T
	path string
	conn *net.UnixConn
}

func listenSyslog(t *testing.T, path string) *syslogServer {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	s := &syslogServer{t, path, conn}
	t.Cleanup(s.close)
	return s
}

func (s *syslogServer) close() {
	_ = s.conn.Close()
	_ = os.Remove(s.path)
}

func (s *syslogServer) expect(want string) {
	s.t.Helper()
	b := make([]byte, 64<<10)
	_ = s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := s.conn.Read(b)
	if err != nil {
		s.t.Fatal(err)
	}
	if string(b[:n]) != want {
		s.t.Errorf("got  %q\nwant %q", b[:n], want)
	}
}

func syslogConfig(path string, stderr *lockedBuffer) Config {
	c := Default()
	c.Stderr, c.Syslog, c.SyslogSocket, c.SyslogFacility = false, true, path, 1
	c.LinePrefix, c.MinMessages, c.Writer = "p ", Debug5, stderr
	return c
}

func TestSyslogPriorities(t *testing.T) {
	srv := listenSyslog(t, filepath.Join(t.TempDir(), "log"))
	o, err := newOutput(syslogConfig(srv.path, &lockedBuffer{}), testTime)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	const local1 = 17 << 3
	for _, tt := range []struct {
		sev  Severity
		want int
	}{
		{Debug5, 7}, {Debug1, 7}, {Log, 6}, {Info, 6}, {Notice, 5}, {Warning, 5}, {Error, 4}, {FrontendError, 4}, {Fatal, 3}, {Panic, 2},
	} {
		o.Logger().Log(Event{Severity: tt.sev, Message: "m"})
		srv.expect(fmt.Sprintf("<%d>Mar  9 07:05:04 pgpool[%d]: p %s:  m", local1|tt.want, os.Getpid(), tt.sev))
	}
}

func TestSyslogLines(t *testing.T) {
	srv := listenSyslog(t, filepath.Join(t.TempDir(), "log"))
	var stderr lockedBuffer
	c := syslogConfig(srv.path, &stderr)
	c.SyslogIdent, c.Stderr = "me", true
	o, err := newOutput(c, testTime)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	head := fmt.Sprintf("<142>Mar  9 07:05:04 me[%d]: ", os.Getpid())

	long := strings.Repeat("é", syslogLine) // twice as many bytes
	o.Logger().Log(Event{Severity: Log, Message: "a\nb", Detail: long})
	srv.expect(head + "p LOG:  a")
	srv.expect(head + "\tb")
	first := "p DETAIL:  "
	n := (syslogLine - len(first)) / len("é")
	srv.expect(head + first + strings.Repeat("é", n))
	srv.expect(head + strings.Repeat("é", syslogLine/2))
	srv.expect(head + strings.Repeat("é", syslogLine/2-n))
	if want := "p LOG:  a\n\tb\np DETAIL:  " + long + "\n"; stderr.String() != want {
		t.Error("standard error did not get the same lines")
	}
	w := o.Logger().LineWriter()
	_, _ = w.Write([]byte("output of a command\n")) // not for syslog
	o.Logger().Log(Event{Severity: Log, Message: "end"})
	srv.expect(head + "p LOG:  end")
}

func TestSyslogAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var stderr lockedBuffer
	clk := &clock{testTime()}
	o, err := newOutput(syslogConfig(path, &stderr), clk.now)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	log := func(m string) { o.Logger().Log(Event{Severity: Log, Message: m}) }
	log("1")
	log("2")
	warning := fmt.Sprintf("p WARNING:  could not send log messages to syslog at %q\n", path)
	if want := "p LOG:  1\n" + warning + "p LOG:  2\n"; stderr.String() != want {
		t.Errorf("got  %q\nwant %q", stderr.String(), want)
	}
	srv := listenSyslog(t, path)
	log("3") // not tried yet
	clk.t = clk.t.Add(syslogRetry)
	log("4")
	head := func(pri int) string { return fmt.Sprintf("<%d>Mar  9 07:05:09 pgpool[%d]: p ", pri, os.Getpid()) }
	srv.expect(head(142) + "LOG:  4")
	srv.expect(head(141) + "WARNING:  4 log messages could not be sent to syslog")
	srv.close()
	srv = listenSyslog(t, path) // restarted: found again at once
	log("5")
	srv.expect(head(142) + "LOG:  5")
}
