package main

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gopgpool/pcp"
)

var update = flag.Bool("update", false, "write the golden files")

// The test binary is the program when this variable is set.
const testProgram = "PCP_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(testProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// result is what a run of the program left behind.
type result struct {
	stdout, stderr string
	status         int
}

// execute runs the program with args[0] as its name.
func execute(t *testing.T, stdin string, env []string, args ...string) result {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = args
	cmd.Env = append([]string{testProgram + "=1", "GORACE=atexit_sleep_ms=0", "TZ=UTC", "PCPPASSFILE=/nonexistent"}, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal to ask on
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// server is a PCP server that knows one user and answers what it was given. Requests it does not know are answered by an error.
type server struct {
	port    int
	answers map[string][]byte // by type and payload
	asked   chan string
}

const (
	testUser     = "pcpadm"
	testPassword = "secret"
)

// startServer listens at address, of network "tcp" or "unix".
func startServer(t *testing.T, network, address string, answers map[string][]byte) *server {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{answers: answers, asked: make(chan string, 100)}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		s.port = tcp.Port
	}
	done := make(chan struct{})
	go s.serve(l, done)
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return s
}

func (s *server) serve(l net.Listener, done chan<- struct{}) {
	defer close(done)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.session(conn)
		_ = conn.Close()
	}
}

func (s *server) session(conn net.Conn) {
	in := pcp.NewReader(conn, pcp.MaxRequest)
	for {
		p, err := in.Next()
		if err != nil {
			return
		}
		request := string(p.Type) + string(p.Payload)
		var answer []byte
		switch p.Type {
		case pcp.TypeTerminate:
			return
		case pcp.TypeSalt:
			answer = pcp.AppendPacket(nil, pcp.ReplySalt, []byte("salt"))
		case pcp.TypeAuthenticate:
			f := p.Strings()
			if f[1] != pcp.Digest(pcp.StoredDigest(testPassword), testUser, [4]byte([]byte("salt"))) {
				answer = refuse("FATAL", `authentication failed for user "`+f[0]+`"`, "username and/or password does not match")
			} else {
				answer = pcp.AppendStrings(nil, pcp.ReplyAuthenticate, pcp.AuthenticationOK)
			}
		default:
			s.asked <- request
			answer = s.answers[request]
			if answer == nil {
				answer = refuse("ERROR", "node recovery failed, node id: 7 is alive", "")
			}
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func refuse(severity, message, detail string) []byte {
	return pcp.AppendNotice(nil, pcp.ReplyError, pcp.Notice{
		Severity: severity, State: "XX000", Message: message, Detail: detail, File: "pcp_worker.c", Line: "855",
	})
}

func complete(reply byte) []byte { return pcp.AppendStrings(nil, reply, pcp.TagComplete) }

// array is a reply of several rows. Fields of a row are separated by "|".
func array(reply byte, tag string, rows ...string) []byte {
	count := []byte(strconv.Itoa(len(rows)) + "\x00")
	if reply == pcp.ReplyPoolStatus {
		count = binary.BigEndian.AppendUint32(nil, uint32(len(rows)))
	}
	b := pcp.AppendPacket(nil, reply, append([]byte(pcp.TagArraySize+"\x00"), count...))
	for _, r := range rows {
		b = pcp.AppendStrings(b, reply, append([]string{tag}, strings.Split(r, "|")...)...)
	}
	return append(b, complete(reply)...)
}

func record(reply byte, fields string) []byte {
	return pcp.AppendStrings(nil, reply, append([]string{pcp.TagComplete}, strings.Split(fields, "|")...)...)
}

const watchdogJSON = `{"RemoteNodeCount":1,"MemberRemoteNodeCount":1,"NodesRequireForQuorum":1,"QuorumStatus":%d,"AliveNodeCount":0,` +
	`"Escalated":1,"LeaderNodeName":"127.0.0.1:29999 Linux host1","LeaderHostName":"127.0.0.1","NodeCount":2,"WatchdogNodes": [` +
	`{"ID":0,"State":4,"Membership":0,"MembershipString":"MEMBER","NodeName":"127.0.0.1:29999 Linux host1","HostName":"127.0.0.1",` +
	`"StateName":"LEADER","DelegateIP":"Not_Set","WdPort":47901,"PgpoolPort":29999,"Priority":1},` +
	`{"ID":1,"State":0,"Membership":0,"MembershipString":"MEMBER","NodeName":"Not_Set","HostName":"127.0.0.2",` +
	`"StateName":"DEAD","DelegateIP":"Not_Set","WdPort":47902,"PgpoolPort":29999,"Priority":0}]}`

// captured are replies of Pgpool-II, 4.7 where nothing else is said.
func captured() map[string][]byte {
	const (
		primary = "127.0.0.1|15432|2|0|up|1073741823.500000|2|primary|0|0|||1795198404"
		standby = "127.0.0.1|15433|2|0|up|1073741823.500000|3|standby|0|0|streaming|async|1795198404"
		used    = "20004|2026-11-20 18:13:24 (4:33 before process restarting)|2|0|0|test|postgres|2026-11-20 18:13:30|2026-11-20 18:13:33|" +
			"2026-11-20 18:13:33|0|3|0|2|20072|0|Wait for connection|0|127.0.0.1|33338|DISCARD ALL"
		unused43 = "17256|2026-11-20 18:12:35|0|0|0||||||0|0|0|0|0|0|Wait for connection"
		used45   = "17256|2026-11-20 18:12:35|1|0|0|test|u|x|y|z|7 (0:53 before client disconnected)|3|0|1|9|1|Idle|1"
	)
	m := map[string][]byte{
		"L": record(pcp.ReplyNodeCount, "2"),
		"N": record(pcp.ReplyProcCount, "3|20004|20005|20006"),
		"I-1\x00": array(pcp.ReplyNodeInfo, pcp.TagNodeInfo, primary, standby,
			"|0|0|0|unknown|0.000000|3|unknown|0|0|||0"),
		"I0\x00": array(pcp.ReplyNodeInfo, pcp.TagNodeInfo, "h|1|1|0|down|2147483647.000000|0|main|0|12|||0"),
		"I1\x00": array(pcp.ReplyNodeInfo, pcp.TagNodeInfo, "h|1|3|1|unknown|0.000000|1|replica|1|12345|streaming|sync|1"),
		"I2\x00": array(pcp.ReplyNodeInfo, pcp.TagNodeInfo, "h|1|3|0|unknown|0.000000|9|unknown|1|2000000|||1"),
		"I3\x00": array(pcp.ReplyNodeInfo, pcp.TagNodeInfo, "127.0.0.1|15433|2|0|up|1073741823.500000|3|standby|77|streaming|async|1795198404"),
		"I4\x00": array(pcp.ReplyNodeInfo, pcp.TagNodeInfo, "127.0.0.1|15433|2|up|1073741823.500000|3|standby|77|streaming|async|1795198404"),
		"I5\x00": array(pcp.ReplyNodeInfo, pcp.TagNodeInfo),
		"I9\x00": refuse("ERROR", "informing node info failed", "invalid node ID : 9"),
		"H1\x00": record(pcp.ReplyHealthCheckStats, "1|127.0.0.1|15433|up|standby|2026-11-20 18:13:24|12|12|0|0|0|0.000000|0|29|2|7.583333|"+
			"2026-11-20 18:13:57|2026-11-20 18:13:57||"),
		"P0\x00":     array(pcp.ReplyProcInfo, pcp.TagProcessInfo, used, unused43),
		"P17256\x00": array(pcp.ReplyProcInfo, pcp.TagProcessInfo, used45),
		"P7\x00":     array(pcp.ReplyProcInfo, pcp.TagProcessInfo, unused43),
		"B": array(pcp.ReplyPoolStatus, pcp.TagProcessConfig, "backend_clustering_mode|1|clustering mode",
			"listen_addresses||host name(s) or IP address(es) to listen on"),
		"W-1\x00": record(pcp.ReplyWatchdogInfo, fmt.Sprintf(watchdogJSON, 0)),
		"W0\x00":  record(pcp.ReplyWatchdogInfo, fmt.Sprintf(watchdogJSON, 1)),
		"W1\x00":  record(pcp.ReplyWatchdogInfo, fmt.Sprintf(watchdogJSON, -1)),
		"W2\x00":  record(pcp.ReplyWatchdogInfo, fmt.Sprintf(watchdogJSON, -2)),
		"W3\x00": record(pcp.ReplyWatchdogInfo, `{"RemoteNodeCount":0,"QuorumStatus":7,"AliveNodeCount":0,"Escalated":0,`+
			`"LeaderNodeName":"Not Set","LeaderHostName":"Not Set","NodeCount":1,"WatchdogNodes":[{"ID":-1,"State":-1,"NodeName":"Not_Set",`+
			`"HostName":"Not_Set","StateName":"Not_Set","DelegateIP":"Not_Set","WdPort":0,"PgpoolPort":0,"Priority":0}]}`),
		// The document of 4.1.
		"W4\x00": record(pcp.ReplyWatchdogInfo, `{"RemoteNodeCount":0,"QuorumStatus":1,"AliveNodeCount":0,"Escalated":0,`+
			`"MasterNodeName":"a:1 Linux a","MasterHostName":"a","NodeCount":1,"WatchdogNodes":[{"ID":0,"State":4,"NodeName":"a:1 Linux a",`+
			`"HostName":"a","StateName":"MASTER","DelegateIP":"Not_Set","WdPort":2,"PgpoolPort":1,"Priority":1}]}`),
		"W5\x00": record(pcp.ReplyWatchdogInfo, `{"RemoteNodeCount":0,"QuorumStatus":7,"AliveNodeCount":0,"Escalated":0,`+
			`"MasterNodeName":"no host","NodeCount":0,"WatchdogNodes":[]}`),
		"W9\x00":   refuse("ERROR", "PCP: informing watchdog info failed", "watchdog is not enabled"),
		"J9 \x00n": refuse("FATAL", "invalid promote request", "specified node is already primary node, can't promote node id 9"),
	}
	for request, reply := range map[string]byte{
		"C1\x00": pcp.ReplyAttach, "D1\x00": pcp.ReplyDetach, "d1\x00": pcp.ReplyDetach, "J1 \x00n": pcp.ReplyDetach,
		"j1 \x00s": pcp.ReplyDetach, "J1 \x00s": pcp.ReplyDetach, "O1\x00": pcp.ReplyAttach, "Ts": pcp.ReplyStop, "Tf": pcp.ReplyStop,
		"ti": pcp.ReplyStop, "Zl": pcp.ReplyReload, "Zc": pcp.ReplyReload, "Vl": pcp.ReplyRotateLog, "Vc": pcp.ReplyRotateLog,
		"G": pcp.ReplyInvalidateCache,
	} {
		m[request] = complete(reply)
	}
	notice := pcp.AppendNotice(nil, pcp.ReplyNotice, pcp.Notice{Severity: "NOTICE", State: "00000", Message: "hello", Detail: "world"})
	m["C2\x00"] = append(notice, complete(pcp.ReplyAttach)...)
	return m
}

// Each line of commands.txt is a command line; commands.golden holds them with what was asked, printed and returned.
func TestOutputs(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", "127.0.0.1:0", captured())
	lines, err := os.ReadFile(filepath.Join("testdata", "commands.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(lines)) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		common := []string{args[0], "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", testUser}
		r := execute(t, testPassword+"\n", nil, append(common, args[1:]...)...)
		fmt.Fprintf(&got, "$ %s\n", strings.Join(args, " "))
		for len(s.asked) > 0 {
			fmt.Fprintf(&got, "asked %q\n", <-s.asked)
		}
		got.WriteString(marked("| ", r.stdout) + marked("! ", strings.TrimPrefix(r.stderr, "Password: \n")))
		fmt.Fprintf(&got, "exit %d\n\n", r.status)
	}
	compareGolden(t, "commands.golden", got.String())
}

// marked puts mark before each line, and shows blanks at their ends.
func marked(mark, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		bare := strings.TrimSuffix(line, "\n")
		if strings.HasSuffix(bare, " ") {
			bare += "$"
		}
		b.WriteString(strings.TrimSuffix(mark+bare, " ") + "\n")
	}
	return b.String()
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, -update writes it; got\n%s", path, got)
	}
}
