package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"gopgpool/pcp"
	"gopgpool/watchdog/ipc"
)

// What the watchdog tells reads alike in Pgpool-II's program (4.3.5 of Debian) and ours, byte by byte.
func TestWatchdogDocument(t *testing.T) {
	t.Parallel()
	const original = "/usr/sbin/pcp_watchdog_info"
	if _, err := os.Stat(original); err != nil {
		t.Skipf("the original is not here (apt-get install pgpool2): %v", err)
	}
	state := ipc.Cluster{
		Remote: 2, MemberRemote: 1, RequiredForQuorum: 2, Quorum: ipc.QuorumExists, AliveRemote: 1, Escalated: true,
		LeaderName: "server1:9999 Linux server1", LeaderHost: "server1",
		Nodes: []ipc.Node{
			{ID: 1, State: 4, Name: "server1:9999 Linux server1", Host: "server1", DelegateIP: "10.0.0.9", WdPort: 9000, PgpoolPort: 9999, Priority: 3},
			{ID: 0, State: 7, Name: "server0:9999 Linux server0", Host: "server0", DelegateIP: "10.0.0.9", WdPort: 9000, PgpoolPort: 9999, Priority: 1},
			{ID: 2, State: 8, Membership: 3, Name: `odd "name" \ ü`, Host: "server2", WdPort: 9001, PgpoolPort: 9998},
		},
	}
	leaderless := ipc.Cluster{Remote: 1, Quorum: ipc.QuorumNoLeader, Nodes: []ipc.Node{{State: 6, Host: "a"}, {ID: 1, Host: "b"}}}
	reply := func(document []byte) []byte {
		return pcp.AppendStrings(nil, pcp.ReplyWatchdogInfo, pcp.TagComplete, string(document))
	}
	s := startServer(t, "tcp", "127.0.0.1:0", map[string][]byte{
		"W-1\x00": reply(ipc.EncodeNodes(state, ipc.AllNodes)), "W0\x00": reply(ipc.EncodeNodes(state, 0)),
		"W1\x00": reply(ipc.EncodeNodes(state, 1)), "W2\x00": reply(ipc.EncodeNodes(state, 2)), "W7\x00": reply(ipc.EncodeNodes(state, 7)),
		"W9\x00": reply(ipc.EncodeNodes(leaderless, ipc.AllNodes)),
	})
	passfile := filepath.Join(t.TempDir(), "pcppass")
	if err := os.WriteFile(passfile, []byte("*:*:"+testUser+":"+testPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{}, {"-v"}, {"-n", "0"}, {"-n", "1", "-v"}, {"2"}, {"-v", "2"}, {"7"}, {"-v", "7"}, {"9"}, {"-v", "9"}} {
		args := append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", testUser, "-w"}, words...)
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), original, args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "PCPPASSFILE="+passfile), &out, &errs
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		ours := execute(t, "", []string{"PCPPASSFILE=" + passfile}, append([]string{"pcp_watchdog_info"}, args...)...)
		if out.String() != ours.stdout || errs.String() != ours.stderr || cmd.ProcessState.ExitCode() != ours.status {
			t.Errorf("%q: status %d\n%s%sours, status %d:\n%s%s", words, cmd.ProcessState.ExitCode(), &out, &errs, ours.status, ours.stdout, ours.stderr)
		}
		if out.Len() == 0 {
			t.Errorf("%q prints nothing: %s", words, &errs)
		}
	}
}
