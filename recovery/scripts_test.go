package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

// stubSSH runs the command on this machine, as the account of the servers, for the hosts whose names are files of its directory. It
// keeps a list of calls.
const stubSSH = `#!/bin/bash
here=%[1]s/hosts
while [ $# -gt 0 ]; do
	case $1 in
	-[oipl]) shift 2 ;;
	-*) shift ;;
	*) break ;;
	esac
done
host=${1#*@}; shift
echo "$host" >>"$here/../ssh.log"
if [ ! -e "$here/$host" ]; then echo "ssh: connect to host $host: No route to host" >&2; exit 255; fi
if [ "$(id -u)" = 0 ]; then exec setpriv --reuid=%[2]s --regid=%[2]s --clear-groups /bin/sh -c "$*"; fi
exec /bin/sh -c "$*"
`

// site is three hosts on this machine with the sample scripts of samples/scripts installed.
type site struct {
	*world
	dir, bin, account string
	first             *pgcluster.Node // node 0, while it is run by the harness
	nodes             []cluster.Node
	values            map[string]string // settings of the scripts
}

func newSite(t *testing.T) *site {
	t.Helper()
	in := newInstallation(t)
	if out, err := in.install(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir, err := os.MkdirTemp("", "recovery-site-")
	check(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	check(t, os.Chmod(dir, 0o777))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("PGUSER", "postgres")

	c := pgcluster.StartTest(t, pgcluster.Options{
		Nodes: 1, BinDir: in.binDir, Host: "127.0.1.1", Listen: "*",
		HBA: "host all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n",
	})
	ports, err := pgcluster.ReservePorts(2)
	check(t, err)
	t.Cleanup(func() { check(t, ports.Close()) })
	s := &site{dir: dir, bin: in.binDir, account: c.Account(), first: c.Nodes[0]}
	s.nodes = []cluster.Node{
		{ID: 0, Host: "127.0.1.1", Port: c.Nodes[0].Port, DataDirectory: c.Nodes[0].DataDir, Status: up},
		{ID: 1, Host: "127.0.1.2", Port: ports.Numbers[0], DataDirectory: filepath.Join(c.Dir, "data1"), Status: down},
		{ID: 2, Host: "127.0.1.3", Port: ports.Numbers[1], DataDirectory: filepath.Join(c.Dir, "data '2' of 3"), Status: down},
	}
	s.world = newWorld(t, s.nodes...)
	s.values = map[string]string{
		"PGHOME": filepath.Dir(in.binDir), "PGSOCKETDIR": c.SocketDir, "SSH_USER": s.account,
		"ARCHIVEDIR": filepath.Join(dir, "archive"),
		"PASSFILE":   filepath.Join(dir, "pgpass"), "PCP_ATTACH_NODE": filepath.Join(dir, "pcp_attach_node"),
	}
	s.equip(t)
	for _, n := range s.nodes {
		t.Cleanup(func() { s.stop(n.ID) })
	}
	return s
}

// equip lays out scripts, stubs and what the scripts want of the servers.
func (s *site) equip(t *testing.T) {
	t.Helper()
	s.write(t, "pgpass", "*:*:*:*:secret\n", 0o600)
	s.write(t, "ssh", fmt.Sprintf(stubSSH, s.dir, s.account), 0o755)
	s.write(t, "pcp_attach_node", "#!/bin/sh\necho \"$*\" >>"+s.dir+"/attached\n", 0o755)
	s.write(t, "scp", "#!/bin/sh\necho \"$*\" >>"+s.dir+"/scp.log\nexit 1\n", 0o755)
	s.write(t, "scp.log", "", 0o666)
	check(t, os.Mkdir(filepath.Join(s.dir, "hosts"), 0o755))
	for _, n := range s.nodes {
		s.write(t, "hosts/"+n.Host, "", 0o644)
	}
	s.write(t, "ssh.log", "", 0o666)
	for _, name := range []string{"failover.sh", "follow_primary.sh"} {
		s.script(t, name, s.dir, s.values)
	}
	for _, name := range []string{"recovery_1st_stage", "pgpool_remote_start"} {
		s.script(t, name, s.first.DataDir, s.values)
	}
	for _, sql := range []string{
		"CREATE EXTENSION pgpool_recovery", "CREATE ROLE repl LOGIN REPLICATION", "CREATE TABLE seen (what text)",
	} {
		check(t, s.first.Exec(t.Context(), sql))
	}
}

func (s *site) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	check(t, os.WriteFile(path, []byte(text), mode))
	check(t, os.Chmod(path, mode))
	if os.Geteuid() == 0 && strings.HasPrefix(name, "pgpass") {
		check(t, exec.CommandContext(t.Context(), "chown", s.account, path).Run())
	}
}

// script installs a sample with the values of this site instead of its own.
func (s *site) script(t *testing.T, name, dir string, values map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "samples", "scripts", name))
	check(t, err)
	for setting, value := range values {
		line := regexp.MustCompile(`(?m)^` + setting + `=\S*`)
		text = line.ReplaceAllLiteral(text, []byte(setting+"="+pgcluster.ShellQuote(value)))
	}
	path := filepath.Join(dir, name)
	check(t, os.WriteFile(path, text, 0o755))
	check(t, os.Chmod(path, 0o755))
}

// as prepares a program that runs as the account of the servers.
func (s *site) as(ctx context.Context, program string, args ...string) *exec.Cmd {
	if os.Geteuid() == 0 {
		args = append([]string{"--reuid=" + s.account, "--regid=" + s.account, "--clear-groups", program}, args...)
		program = "setpriv"
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	return cmd
}

// stop ends a server that a script has started; one that does not run is stopped.
func (s *site) stop(id cluster.NodeID) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Its error says that no server runs.
	_ = s.as(ctx, filepath.Join(s.bin, "pg_ctl"), "-D", s.nodes[id].DataDirectory, "-m", "immediate", "-w", "stop").Run()
}

// run runs a script as pgpool would; what it prints is returned and it must end with the status.
func (s *site) run(t *testing.T, status int, script string, args ...any) string {
	t.Helper()
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = fmt.Sprint(a)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, script), words...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		check(t, err)
	}
	if got != status {
		t.Fatalf("%s %q ended with %d, want %d\n%s", script, words, got, status, out)
	}
	t.Logf("%s\n%s", script, out)
	return string(out)
}

// value asks one server.
func (s *site) value(t *testing.T, id cluster.NodeID, sql string) string {
	t.Helper()
	value, err := s.ask(t.Context(), id, sql)
	check(t, err)
	return value
}

func (s *site) ask(ctx context.Context, id cluster.NodeID, sql string) (value string, err error) {
	n := s.nodes[id]
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable", n.Host, n.Port))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, sql, pgx.QueryExecModeExec).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return value, err
}

// eventually waits until a server gives the answer.
func (s *site) eventually(t *testing.T, id cluster.NodeID, sql, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last string
	err := pgcluster.Poll(ctx, fmt.Sprintf("node %d: %s is %q", id, sql, want), func() (bool, error) {
		var err error
		last, err = s.ask(ctx, id, sql)
		return err == nil && last == want, nil
	})
	if err != nil {
		t.Fatalf("%v; it was %q", err, last)
	}
}

// streams waits until a node streams from another under its host's name and through its own slot.
func (s *site) streams(t *testing.T, id, from cluster.NodeID) {
	t.Helper()
	host := s.nodes[id].Host
	const sql = `SELECT r.usename || ' ' || r.state || ' ' || l.active FROM pg_stat_replication AS r
		JOIN pg_replication_slots AS l ON l.active_pid = r.pid
		WHERE r.application_name = '%s' AND l.slot_name = '%s'`
	s.eventually(t, from, fmt.Sprintf(sql, host, strings.ReplaceAll(host, ".", "_")), "repl streaming true")
}

// writes writes on one node and waits until it is seen on the others.
func (s *site) writes(t *testing.T, what string, primary cluster.NodeID, others ...cluster.NodeID) {
	t.Helper()
	s.value(t, primary, "INSERT INTO seen VALUES ('"+what+"') RETURNING what")
	for _, id := range others {
		s.eventually(t, id, "SELECT what FROM seen WHERE what = '"+what+"'", what)
	}
}

// sshCalls are the hosts that were called since it was asked last.
func (s *site) sshCalls(t *testing.T) string {
	t.Helper()
	path := filepath.Join(s.dir, "ssh.log")
	text, err := os.ReadFile(path)
	check(t, err)
	check(t, os.Truncate(path, 0))
	return strings.Join(strings.Fields(string(text)), " ")
}

// attachedBy is what pcp_attach_node was called with since it was asked last.
func (s *site) attachedBy(t *testing.T) string {
	t.Helper()
	path := filepath.Join(s.dir, "attached")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	check(t, err)
	check(t, os.Remove(path))
	return strings.TrimSpace(string(text))
}

// failoverArguments are %d %h %p %D %m %H %M %P %r %R %N %S.
func (s *site) failoverArguments(failed, main, primary cluster.NodeID) []any {
	f, m, p := s.nodes[failed], s.nodes[main], s.nodes[primary]
	return []any{f.ID, f.Host, f.Port, f.DataDirectory, m.ID, m.Host, 0, p.ID, m.Port, m.DataDirectory, p.Host, p.Port}
}

// followArguments are %d %h %p %D %m %H %M %P %r %R, or the order of old configurations.
func (s *site) followArguments(id, primary, old cluster.NodeID, oldOrder bool) []any {
	n, p := s.nodes[id], s.nodes[primary]
	if oldOrder {
		return []any{n.ID, n.Host, n.Port, n.DataDirectory, p.ID, old, p.Host, old, p.Port, p.DataDirectory}
	}
	return []any{n.ID, n.Host, n.Port, n.DataDirectory, p.ID, p.Host, old, old, p.Port, p.DataDirectory}
}

// TestSampleScripts is the life of a cluster with the sample scripts: standbys are made by recovery, the primary is lost, a standby
// promoted, the other one made to follow, the old primary recovered.
func TestSampleScripts(t *testing.T) {
	s := newSite(t)
	if _, err := exec.LookPath("setpriv"); err != nil && os.Geteuid() == 0 {
		t.Skipf("the stub of ssh needs setpriv: %v", err)
	}
	for _, id := range []cluster.NodeID{1, 2} {
		s.recovers(t, id)
		s.streams(t, id, 0)
	}
	s.writes(t, "three servers", 0, 1, 2)
	s.restores(t)
	s.refusesToDestroy(t)
	s.nothingToPromote(t)

	check(t, s.first.Kill(t.Context()))
	s.unreachable(t)
	old := filepath.Join(s.dir, "hosts", s.nodes[0].Host)
	check(t, os.Remove(old))
	if !s.restoring(t, 1) {
		t.Error("node 1 has no restore_command")
	}
	s.run(t, 0, "failover.sh", s.failoverArguments(0, 1, 0)...)
	if s.restoring(t, 1) {
		t.Error("node 1 still asks a host that is gone for WAL")
	}
	check(t, os.WriteFile(old, nil, 0o644))
	if got := s.value(t, 1, "SELECT pg_is_in_recovery()::text"); got != "false" {
		t.Fatal("node 1 was not promoted")
	}
	if out := s.run(t, 0, "failover.sh", s.failoverArguments(0, 1, 0)...); !strings.Contains(out, "a primary already") {
		t.Error("a second promotion is not told to be one")
	}
	s.change(func(v *cluster.View) {
		v.Primary, v.Nodes[0].Status, v.Nodes[2].Status = 1, cluster.StatusDown, cluster.StatusDown
	})
	s.follow(t)

	s.recovers(t, 0)
	s.streams(t, 0, 1)
	s.writes(t, "old primary recovered", 1, 0, 2)
	s.followByCopy(t)
	s.switchOver(t)
}

// A standby asks the archive of its primary; promoted behind a host that is gone it does not.
func (s *site) restores(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(s.dir, "scp.log"))
	check(t, err)
	want := regexp.MustCompile(`(?m)^-q -i \S+/\.ssh/id_rsa_pgpool -o BatchMode=yes .*` + s.account + `@127\.0\.1\.1:` + s.dir +
		`/archive/00000002\.history pg_wal/RECOVERYHISTORY$`)
	if !want.Match(text) {
		t.Errorf("scp was called so:\n%s\nwant a line like %s", text, want)
	}
}

// restoring reports whether a node has a restore_command.
func (s *site) restoring(t *testing.T, id cluster.NodeID) bool {
	t.Helper()
	return s.value(t, id, "SELECT current_setting('restore_command')") != ""
}

// A directory that holds something else, and one whose server runs, are left alone.
func (s *site) refusesToDestroy(t *testing.T) {
	s.change(func(v *cluster.View) { v.Nodes[2].Status = cluster.StatusDown })
	e := s.fails(t.Context(), t, 2)
	if want := `executing recovery, execution of command failed at "1st stage"`; e.Message != want {
		t.Errorf("%s, want %s", e.Message, want)
	}
	if !strings.HasPrefix(e.Detail, `command:"recovery_1st_stage"`) || !strings.Contains(e.Detail, "log of the server on 127.0.1.1:") {
		t.Errorf("detail: %s", e.Detail)
	}
	log, err := os.ReadFile(s.first.Log)
	check(t, err)
	if !strings.Contains(string(log), "a server runs in "+s.nodes[2].DataDirectory+", stop it first") {
		t.Error("the log of the source does not tell that the node's server runs")
	}
	s.streams(t, 2, 0)

	foreign := filepath.Join(s.dir, "foreign")
	check(t, os.Mkdir(foreign, 0o777))
	check(t, os.Chmod(foreign, 0o777))
	s.write(t, "foreign/precious", "", 0o666)
	s.change(func(v *cluster.View) { v.Nodes[2].DataDirectory = foreign })
	_ = s.fails(t.Context(), t, 2)
	if _, err := os.Stat(filepath.Join(foreign, "precious")); err != nil {
		t.Errorf("recovery emptied a directory that was no data directory: %v", err)
	}
	s.change(func(v *cluster.View) {
		v.Nodes[2].DataDirectory, v.Nodes[2].Status = s.nodes[2].DataDirectory, cluster.StatusUp
	})
}

// nothingToPromote: a lost standby, and the loss of the last node.
func (s *site) nothingToPromote(t *testing.T) {
	s.sshCalls(t)
	none := s.failoverArguments(0, 1, 0)
	none[4], none[5], none[8], none[9] = " -1", "", "", ""
	s.run(t, 0, "failover.sh", none...)
	if got := s.sshCalls(t); got != "" {
		t.Errorf("with all nodes down %s was called", got)
	}
	slot := "SELECT active::text FROM pg_replication_slots WHERE slot_name = '127_0_1_3'"
	s.run(t, 0, "failover.sh", s.failoverArguments(2, 0, 0)[:10]...)
	s.run(t, 0, "failover.sh", s.failoverArguments(2, 0, 0)...)
	if got := s.value(t, 0, slot); got != "true" {
		t.Error("the slot of a standby that still streams was dropped")
	}
	s.stop(2)
	s.eventually(t, 0, slot, "false")
	s.run(t, 0, "failover.sh", s.failoverArguments(2, 0, 0)...)
	if got := s.value(t, 0, slot); got != "" {
		t.Error("the slot of a lost standby was not dropped")
	}
	s.change(func(v *cluster.View) { v.Nodes[2].Status = cluster.StatusDown })
	s.recovers(t, 2)
	s.streams(t, 2, 0)
	for _, id := range []cluster.NodeID{0, 1} {
		if got, want := s.value(t, id, "SELECT pg_is_in_recovery()::text"), fmt.Sprint(id == 1); got != want {
			t.Errorf("node %d is in recovery: %s, want %s", id, got, want)
		}
	}
}

// unreachable: ssh does not get through to the host whose server is to be promoted.
func (s *site) unreachable(t *testing.T) {
	host := filepath.Join(s.dir, "hosts", s.nodes[1].Host)
	check(t, os.Remove(host))
	s.run(t, 1, "failover.sh", s.failoverArguments(0, 1, 0)...)
	s.run(t, 1, "follow_primary.sh", s.followArguments(2, 1, 0, false)...)
	check(t, os.WriteFile(host, nil, 0o644))
	if got := s.value(t, 1, "SELECT pg_is_in_recovery()::text"); got != "true" {
		t.Error("node 1 was promoted")
	}
}

// follow: the dead old primary is passed over, the other standby is rewound, in both orders of arguments.
func (s *site) follow(t *testing.T) {
	s.run(t, 0, "follow_primary.sh", s.followArguments(0, 1, 0, false)...)
	if got := s.attachedBy(t); got != "" {
		t.Errorf("a server that does not run was attached: %s", got)
	}
	for _, oldOrder := range []bool{false, true} {
		out := s.run(t, 0, "follow_primary.sh", s.followArguments(2, 1, 0, oldOrder)...)
		if !strings.Contains(out, "was rewound") {
			t.Error("node 2 was not rewound")
		}
		if got, want := s.attachedBy(t), "-w -h localhost -U pgpool -p 9898 -n 2"; got != want {
			t.Errorf("pcp_attach_node %s, want %s", got, want)
		}
		s.streams(t, 2, 1)
	}
	s.writes(t, "followed", 1, 2)
	s.change(func(v *cluster.View) { v.Nodes[2].Status = cluster.StatusUp })
}

// followByCopy: where a rewind is not to be had, the scripts of recovery copy the whole server.
func (s *site) followByCopy(t *testing.T) {
	values := map[string]string{"REWIND_USER": "nosuch"}
	for k, v := range s.values {
		values[k] = v
	}
	s.script(t, "follow_primary.sh", s.dir, values)
	if out := s.run(t, 0, "follow_primary.sh", s.followArguments(2, 1, 0, false)...); !strings.Contains(out, "was copied") {
		t.Error("node 2 was not copied")
	}
	if got, want := s.attachedBy(t), "-w -h localhost -U pgpool -p 9898 -n 2"; got != want {
		t.Errorf("pcp_attach_node %s, want %s", got, want)
	}
	s.streams(t, 2, 1)
	s.writes(t, "copied", 1, 0, 2)
}

// switchOver: node 2 is promoted while node 1 is still a primary and goes on writing. What only node 1 has is taken back.
func (s *site) switchOver(t *testing.T) {
	s.script(t, "follow_primary.sh", s.dir, s.values)
	s.run(t, 0, "failover.sh", s.failoverArguments(1, 2, 1)...)
	s.value(t, 1, "INSERT INTO seen VALUES ('too late') RETURNING what")
	s.value(t, 2, "INSERT INTO seen VALUES ('in time') RETURNING what")
	if out := s.run(t, 0, "follow_primary.sh", s.followArguments(1, 2, 1, false)...); !strings.Contains(out, "was rewound") ||
		strings.Contains(out, "no rewind required") {
		t.Error("node 1 was not rewound")
	}
	s.streams(t, 1, 2)
	s.writes(t, "switched over", 2, 1)
	if got := s.value(t, 1, "SELECT string_agg(what, ',') FROM seen WHERE what LIKE '% time' OR what LIKE '% late'"); got != "in time" {
		t.Errorf("node 1 has %q", got)
	}
	s.attachedBy(t)
}

// The samples keep to what shellcheck asks for.
func TestSamplesAreClean(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skipf("shellcheck is not installed: %v", err)
	}
	scripts, err := filepath.Glob("../samples/scripts/*")
	check(t, err)
	if len(scripts) < 4 {
		t.Fatalf("only %q", scripts)
	}
	if out, err := exec.CommandContext(t.Context(), program, scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
