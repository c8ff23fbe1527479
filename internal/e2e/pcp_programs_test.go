package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

// pcpUser and its password are those of the harness.
const pcpUser, pcpPassword = "postgres", "postgres"

// ran is what a program printed and how it ended.
type ran struct {
	stdout, stderr string
	status         int
}

// runPCP runs a program, as name, against the PCP port of p. The password comes from a file.
func runPCP(t *testing.T, path string, p *pgcluster.Pgpool, args ...string) ran {
	t.Helper()
	return runPCPAt(t, path, p.Host, p.PCPPort, pcpPassword, args...)
}

func runPCPAt(t *testing.T, path, host string, port int, password string, args ...string) ran {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pcppass")
	if err := os.WriteFile(file, []byte("*:*:"+pcpUser+":"+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := osexec.CommandContext(ctx, path)
	cmd.Args = append(slices.Clone(args), "-w", "-h", host, "-p", strconv.Itoa(port), "-U", pcpUser)
	cmd.Env = append(os.Environ(), "PCPPASSFILE="+file, "GORACE=atexit_sleep_ms=0")
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *osexec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %v: %v, %v", path, args, err, ctx.Err())
	}
	return ran{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// peerProgram is where Debian and Ubuntu install a PCP program.
func peerProgram(name string) string { return filepath.Join(filepath.Dir(peer), name) }

// What 4.3 has no lines and no columns for.
var since44 = regexp.MustCompile(`(?m)^(Load balance node|client_host|client_port|statement) .*\n`)

// Against either server our programs print what those of Pgpool-II 4.3 print, byte by byte, and end alike.
func TestPCPPrograms(t *testing.T) {
	t.Parallel()
	conf := map[string]string{"num_init_children": "2", "max_pool": "2"}
	theirs := startPeer(t, conf)
	conf["pcp_node_info_layout"] = "4.3"
	servers := map[string]*pgcluster.Pgpool{"theirs": theirs, "ours": start(t, conf)}
	program := shared.Program(t, "pcp")
	// Pgpool-II keeps no connections to the database postgres.
	onServer(t, 0, "DROP DATABASE IF EXISTS pcp_programs WITH (FORCE)")
	onServer(t, 0, "CREATE DATABASE pcp_programs TEMPLATE template0")
	replayed(t)
	for name, p := range servers {
		both := func(line string) (want, got ran) {
			args := strings.Fields(line)
			want, got = runPCP(t, peerProgram(args[0]), p, args...), runPCP(t, program, p, args...)
			if name == "ours" {
				got.stdout = since44.ReplaceAllString(got.stdout, "")
			}
			return want, got
		}
		eventually(t, "the PCP port answers", func() bool { return runPCP(t, program, p, "pcp_node_count").status == 0 })
		value(t, connect(t, p, "dbname=pcp_programs"), "SELECT 1")
		if out := runPCP(t, program, p, "pcp_proc_info").stdout; !strings.HasPrefix(out, "pcp_programs ") {
			t.Errorf("%s server: no connection in %q", name, out)
		}
		eventually(t, "the primary and its replication are known", func() bool {
			rows := psql(t, p, "SHOW pool_nodes")
			return slices.Equal(rows.column(t, "role"), []string{"primary", "standby", "standby"}) &&
				slices.Equal(rows.column(t, "replication_state"), []string{"", "streaming", "streaming"})
		})
		for _, line := range []string{
			"pcp_node_count", "pcp_node_count -v", "pcp_node_count -d",
			"pcp_node_info", "pcp_node_info -v", "pcp_node_info 1", "pcp_node_info -v -n 2", "pcp_node_info -a", "pcp_node_info -d 9",
			"pcp_health_check_stats 1", "pcp_health_check_stats -v 1", "pcp_health_check_stats 3", "pcp_health_check_stats 9",
			"pcp_pool_status", "pcp_pool_status -v",
			"pcp_proc_count", "pcp_proc_count -v",
			"pcp_proc_info", "pcp_proc_info -v", "pcp_proc_info -a -v", "pcp_proc_info 1",
			"pcp_watchdog_info", "pcp_watchdog_info -v 1",
			"pcp_attach_node -n 200", "pcp_attach_node 1 2", "pcp_attach_node",
			"pcp_detach_node 100", "pcp_promote_node 9", "pcp_promote_node 0", "pcp_promote_node -s 0", "pcp_recovery_node 0",
			"pcp_stop_pgpool -m x", "pcp_reload_config", "pcp_reload_config -s local",
		} {
			if name == "ours" && line == "pcp_proc_info" {
				continue // columns of 4.7 stand in the lines
			}
			want, got := both(line)
			for range 30 { // idle times and delays go on between the two, in most pairs on a busy machine
				if got != want {
					want, got = both(line)
				}
			}
			if got != want {
				t.Errorf("%s server, %s\nPgpool-II's %+v\nours        %+v", name, line, want, got)
			}
		}
	}
}

// A server of theirs is stopped by our program, one of ours by theirs; a wrong password is told alike; the socket does as well.
func TestPCPProgramsStop(t *testing.T) {
	t.Parallel()
	program := shared.Program(t, "pcp")
	for path, p := range map[string]*pgcluster.Pgpool{program: startPeer(t, nil), peerProgram("pcp_stop_pgpool"): start(t, nil)} {
		eventually(t, "the PCP port answers", func() bool { return runPCP(t, program, p, "pcp_node_count").status == 0 })
		refused := runPCPAt(t, path, p.Host, p.PCPPort, "wrong", "pcp_stop_pgpool", "-m", "f")
		want := ran{"", "FATAL:  authentication failed for user \"postgres\"\nDETAIL:  username and/or password does not match\n\n", 1}
		if refused != want {
			t.Errorf("%s: %+v", path, refused)
		}
		stopped := runPCPAt(t, path, p.RunDir, p.PCPPort, pcpPassword, "pcp_stop_pgpool", "-m", "f")
		if want := (ran{"pcp_stop_pgpool -- Command Successful\n", "", 0}); stopped != want {
			t.Errorf("%s: %+v", path, stopped)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := p.Wait(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		gone := runPCP(t, path, p, "pcp_stop_pgpool")
		if want := "ERROR: connection to host \"127.0.0.1\" failed with error \"Connection refused\"\n"; gone.stderr != want || gone.status != 1 {
			t.Errorf("%s: %+v", path, gone)
		}
	}
}

// A node is taken out and put back, as an administrator does it, with what 4.7 tells of nodes and connections.
func TestPCPProgramsChange(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	program := shared.Program(t, "pcp")
	run := func(args ...string) string {
		t.Helper()
		r := runPCP(t, program, p, args...)
		if r.status != 0 || r.stderr != "" {
			t.Errorf("%v: %+v", args, r)
		}
		return r.stdout
	}
	conn := connect(t, p, "dbname=postgres", simple)
	value(t, conn, "SELECT 1")
	if out := run("pcp_proc_info"); !regexp.MustCompile(`(?m)^postgres postgres .* [01] 127\.0\.0\.1 \d+ .+$`).MatchString(out) {
		t.Errorf("no connection of ours in\n%s", out)
	}
	if got := run("pcp_detach_node", "2"); got != "pcp_detach_node -- Command Successful\n" {
		t.Errorf("%q", got)
	}
	eventually(t, "node 2 is down", func() bool { return strings.Contains(run("pcp_node_info", "2"), " down ") })
	r := runPCP(t, program, p, "pcp_detach_node", "--strict", "2")
	if !strings.Contains(r.stderr, "is not valid for failover") || r.status != 1 {
		t.Errorf("%+v", r)
	}
	run("pcp_attach_node", "2")
	eventually(t, "node 2 is back", func() bool { return !strings.Contains(run("pcp_node_info", "2"), " down ") })
	if out := run("pcp_node_info", "-v"); strings.Count(out, "Hostname") != 3 {
		t.Errorf("%s", out)
	}
}
