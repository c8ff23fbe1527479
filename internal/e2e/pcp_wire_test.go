package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
	"gopgpool/pcp"
)

// pcpPeer speaks raw packets to the PCP server of a pgpool.
type pcpPeer struct {
	t *testing.T
	net.Conn
	in *pcp.Reader
}

func dialPCP(t *testing.T, p *pgcluster.Pgpool) *pcpPeer {
	t.Helper()
	return dialPCPAt(t, "tcp", net.JoinHostPort(p.Host, strconv.Itoa(p.PCPPort)))
}

func dialPCPAt(t *testing.T, network, address string) *pcpPeer {
	t.Helper()
	var conn net.Conn
	eventually(t, "the PCP server listens", func() (ok bool) { // Pgpool-II's does a little later than its clients are served
		var err error
		conn, err = net.Dial(network, address)
		return err == nil
	})
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &pcpPeer{t: t, Conn: conn, in: pcp.NewReader(conn, pcp.MaxReply)}
}

func (p *pcpPeer) send(typ byte, payload string) {
	p.t.Helper()
	if _, err := p.Write(pcp.AppendPacket(nil, typ, []byte(payload))); err != nil {
		p.t.Fatal(err)
	}
}

// replies are the packets until the server closes the connection. A server that closes it with something of ours unread resets it.
func (p *pcpPeer) replies() []pcp.Packet {
	p.t.Helper()
	var out []pcp.Packet
	for {
		got, err := p.in.Next()
		if err != nil {
			var ne net.Error
			if !errors.Is(err, io.EOF) && errors.As(err, &ne) && ne.Timeout() {
				p.t.Error(err)
			}
			return out
		}
		out = append(out, pcp.Packet{Type: got.Type, Payload: bytes.Clone(got.Payload)})
	}
}

// salt asks for a salt, on another connection if this one is cut: Pgpool-II restarts its listening process behind a failover.
func (p *pcpPeer) salt() (salt [pcp.SaltSize]byte) {
	p.t.Helper()
	eventually(p.t, "a salt", func() bool {
		if _, err := p.Write(pcp.AppendPacket(nil, pcp.TypeSalt, nil)); err == nil {
			if got, err := p.in.Next(); err == nil && got.Type == pcp.ReplySalt {
				salt = [pcp.SaltSize]byte(got.Payload)
				return true
			}
		}
		*p = *dialPCPAt(p.t, p.RemoteAddr().Network(), p.RemoteAddr().String())
		return false
	})
	return salt
}

// login authenticates as the user of the harness.
func (p *pcpPeer) login(password string) *pcpPeer {
	p.t.Helper()
	digest := pcp.Digest(pcp.StoredDigest(password), "postgres", p.salt())
	p.send(pcp.TypeAuthenticate, "postgres\x00"+digest+"\x00")
	return p
}

// asked sends requests on a connection of its own and words the replies behind that to the password.
func asked(t *testing.T, p *pgcluster.Pgpool, requests ...request) []string {
	t.Helper()
	c := dialPCP(t, p).login("postgres")
	var all []byte
	for _, r := range requests {
		all = pcp.AppendPacket(all, r.typ, []byte(r.payload))
	}
	// At once: a server that was told to stop does not wait for more.
	if _, err := c.Write(pcp.AppendPacket(all, pcp.TypeTerminate, nil)); err != nil {
		t.Fatal(err)
	}
	got := c.replies()
	if len(got) == 0 {
		t.Fatal("no answer to the password")
	}
	return words(got[1:])
}

type request struct {
	typ     byte
	payload string
}

// What is not the same twice.
var (
	clockTime = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	unixTime  = regexp.MustCompile(`\b1[6-9]\d{8}\b|\b2\d{9}\b`)
	// How far a standby was behind when it was looked at.
	behind = regexp.MustCompile(`\x00\d+\x00streaming\x00`)
	// The place in the program, which is ours in ours.
	place = regexp.MustCompile(`\x00F[^\x00]*\x00L\d+\x00`)
	// The process that a refusal names.
	fromPID = regexp.MustCompile(`from pid \[\d+\]`)
)

// words is a line for each packet, without what is not the same twice.
func words(packets []pcp.Packet) []string {
	var out []string
	for _, p := range packets {
		text := clockTime.ReplaceAllString(string(p.Payload), "TIME")
		text = unixTime.ReplaceAllString(text, "SECONDS")
		text = behind.ReplaceAllString(text, "\x00BYTES\x00streaming\x00")
		text = place.ReplaceAllString(text, "\x00")
		text = fromPID.ReplaceAllString(text, "from pid [PID]")
		out = append(out, fmt.Sprintf("%c %q", p.Type, text))
	}
	return out
}

// TestPCPWire compares the bytes of replies with those of Pgpool-II 4.3, times and places in the program aside.
func TestPCPWire(t *testing.T) {
	t.Parallel()
	conf := map[string]string{"num_init_children": "2", "max_pool": "2", "backend_flag1": "DISALLOW_TO_FAILOVER"}
	theirs := startPeer(t, conf)
	conf["pcp_node_info_layout"] = "4.3"
	ours := start(t, conf)
	for _, p := range []*pgcluster.Pgpool{theirs, ours} {
		value(t, connect(t, p), "SELECT 1") // nodes that are used are up
		eventually(t, "the states, the primary and its replication are known", func() bool {
			rows := psql(t, p, "SHOW pool_nodes")
			return slices.Equal(rows.column(t, "status"), []string{"up", "up", "up"}) &&
				slices.Equal(rows.column(t, "role"), []string{"primary", "standby", "standby"}) &&
				slices.Equal(rows.column(t, "replication_state"), []string{"", "streaming", "streaming"})
		})
	}
	compareReplies(t, theirs, ours, []request{
		{typ: 'L'},
		{typ: 'I', payload: "-1\x00"},
		{typ: 'I', payload: "0\x00"},
		{typ: 'I', payload: "2\x00"},
		{typ: 'I', payload: "2x\x00"},
		{typ: 'I', payload: "3\x00"},
		{typ: 'I', payload: "-2\x00"},
		{typ: 'H', payload: "1\x00"},
		{typ: 'H', payload: "3\x00"},
		{typ: 'H', payload: "4\x00"},
		{typ: 'H', payload: "-1\x00"},
		{typ: 'P', payload: "1\x00"},
		{typ: 'C', payload: "1\x00"},
		{typ: 'C', payload: "200\x00"},
		{typ: 'C', payload: "-1\x00"},
		{typ: 'D', payload: "1\x00"},
		{typ: 'D', payload: "200\x00"},
		{typ: 'D', payload: "-1\x00"},
		{typ: 'D', payload: "100\x00"},
		{typ: 'J', payload: "9 \x00n"},
		{typ: 'J', payload: "9 \x00s"},
		{typ: 'J', payload: "0 \x00n"},
		{typ: 'j', payload: "0 \x00s"},
		{typ: 'O', payload: "9\x00"},
		{typ: 'O', payload: "0\x00"},
		{typ: 'O', payload: "1\x00"},
		{typ: 'T', payload: "x"},
		{typ: 't', payload: "x"},
		{typ: 'W', payload: "-1\x00"},
		{typ: 'W', payload: "0\x00"},
		{typ: 'A', payload: "client_min_messages\x00error\x00"},
		{typ: 'A', payload: "client_min_messages\x00loud\x00"},
		{typ: 'A', payload: "port\x00x\x00"},
		{typ: 'Z', payload: "l"},
		{typ: 'F'},
		{typ: 'Y'},
	})
}

// compareReplies sends each request to both, on connections of its own.
func compareReplies(t *testing.T, theirs, ours *pgcluster.Pgpool, requests []request) {
	t.Helper()
	for _, r := range requests {
		want, got := asked(t, theirs, r), asked(t, ours, r)
		if !slices.Equal(got, want) {
			t.Errorf("%c %q\ntheirs %s\nours   %s", r.typ, r.payload, strings.Join(want, "\n       "), strings.Join(got, "\n       "))
		}
	}
}

// TestPCPWireRaw: what raw mode refuses.
func TestPCPWireRaw(t *testing.T) {
	t.Parallel()
	conf := map[string]string{"backend_clustering_mode": "raw"}
	theirs := startPeer(t, conf)
	conf["pcp_node_info_layout"] = "4.3"
	ours := start(t, conf)
	for _, p := range []*pgcluster.Pgpool{theirs, ours} {
		value(t, connect(t, p), "SELECT 1")
		eventually(t, "the state is known", func() bool { return psql(t, p, "SHOW pool_nodes").column(t, "status")[0] == "up" })
	}
	compareReplies(t, theirs, ours, []request{
		{'I', "0\x00"},
		{'C', "0\x00"},
		{'J', "1 \x00n"},
		{'J', "9 \x00n"},
		{'O', "1\x00"},
	})
}

// TestPCPWireChanges detaches and attaches, and compares what is told of it.
func TestPCPWireChanges(t *testing.T) {
	t.Parallel()
	theirs := startPeer(t, nil)
	ours := start(t, map[string]string{"pcp_node_info_layout": "4.3"})
	for _, p := range []*pgcluster.Pgpool{theirs, ours} {
		eventually(t, "the primary is known", func() bool {
			return slices.Equal(psql(t, p, "SHOW pool_nodes").column(t, "role"), []string{"primary", "standby", "standby"})
		})
	}
	step := func(what, status string, r request) {
		t.Helper()
		compareReplies(t, theirs, ours, []request{r})
		for _, p := range []*pgcluster.Pgpool{theirs, ours} {
			eventually(t, what, func() bool {
				got := asked(t, p, request{'I', "2\x00"})
				pattern := fmt.Sprintf(`x00%d\\x00%s\\x000\\x00`, shared.Cluster(t).Nodes[2].Port, status)
				return len(got) == 3 && regexp.MustCompile(pattern).MatchString(got[1])
			})
		}
	}
	step("detached", "3", request{'D', "2\x00"})
	step("detached again", "3", request{'D', "2\x00"})
	step("attached", "[12]", request{'C', "2\x00"})
}

// TestPCPWireUnauthorized compares what strangers are told.
func TestPCPWireUnauthorized(t *testing.T) {
	t.Parallel()
	theirs, ours := startPeer(t, nil), start(t, nil)
	for _, tc := range []struct {
		name string
		say  func(c *pcpPeer)
		ours []string // where it differs
	}{
		{"request", func(c *pcpPeer) { c.send('L', "") }, nil},
		{"unknown request", func(c *pcpPeer) { c.send('Y', "") }, nil},
		// Leaving is nothing to be refused.
		{"end", func(c *pcpPeer) { c.send('X', "") }, []string{}},
		{"answer without a salt", func(c *pcpPeer) { c.send('R', "postgres\x00"+pcp.StoredDigest("x")+"\x00") }, nil},
		{"wrong password", func(c *pcpPeer) { c.login("x") }, nil},
		{"length 0", func(c *pcpPeer) { _, _ = c.Write([]byte("L\x00\x00\x00\x00")) }, nil},
		{"length 260", func(c *pcpPeer) { _, _ = c.Write([]byte("L\x00\x00\x01\x04")) }, nil},
		{"negative length", func(c *pcpPeer) { _, _ = c.Write([]byte("L\xff\xff\xff\xff")) }, nil},
	} {
		said := func(p *pgcluster.Pgpool) []string {
			c := dialPCP(t, p)
			tc.say(c)
			return words(c.replies())
		}
		want, got := said(theirs), said(ours)
		if tc.ours != nil {
			want = tc.ours
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s\nwanted %s\nours   %s", tc.name, want, got)
		}
	}
}

// TestPCPWireShapes compares what cannot be equal by its shape: letters, tags, numbers of fields and of rows.
func TestPCPWireShapes(t *testing.T) {
	t.Parallel()
	conf := map[string]string{"num_init_children": "2", "max_pool": "2"}
	theirs, ours := startPeer(t, conf), start(t, conf)
	shape := func(p *pgcluster.Pgpool, r request) (lines []string) {
		c := dialPCP(t, p).login("postgres")
		c.send(r.typ, r.payload)
		c.send(pcp.TypeTerminate, "")
		for _, packet := range c.replies()[1:] {
			f := packet.Strings()
			lines = append(lines, fmt.Sprintf("%c %s %d", packet.Type, f[0], len(f)))
		}
		return lines
	}
	for _, r := range []request{{'N', ""}, {'P', "0\x00"}} {
		want, got := shape(theirs, r), shape(ours, r)
		for i := range want { // 4.7 has more fields of a process than 4.3
			want[i] = strings.Replace(want[i], "ProcessInfo 18", "ProcessInfo 22", 1)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%c\ntheirs %s\nours   %s", r.typ, want, got)
		}
	}
	for _, p := range []*pgcluster.Pgpool{theirs, ours} {
		lines := shape(p, request{'B', ""})
		if len(lines) < 100 || !strings.HasPrefix(lines[0], "b ArraySize ") || lines[1] != "b ProcessConfig 4" || lines[len(lines)-1] != "b CommandComplete 1" {
			t.Errorf("B: %s", lines)
		}
	}
}

// TestPCPUnixSocket: the same protocol by the socket file.
func TestPCPUnixSocket(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	c := dialPCPAt(t, "unix", filepath.Join(p.RunDir, ".s.PGSQL."+strconv.Itoa(p.PCPPort))).login("postgres")
	c.send(pcp.TypeNodeCount, "")
	c.send(pcp.TypeTerminate, "")
	if got := words(c.replies()); !slices.Equal(got, []string{`r "AuthenticationOK\x00"`, `l "CommandComplete\x003\x00"`}) {
		t.Errorf("%s", got)
	}
}
