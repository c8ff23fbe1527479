package runbook

import (
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
)

// step is a thing an administrator does, and the state he waits for afterwards.
type step struct {
	name string
	do   string // a command on pgpool's host; "" for none
	stop int    // the server to stop at once; -1 for none
	then string // SHOW pool_nodes: id, status and role of each
}

const pcp = " -w -h localhost -U pgpool "

var steps = []step{
	{"start", "", -1, "0 up primary, 1 down standby, 2 down standby"},
	{"count", "pcp_node_count" + pcp, -1, ""},
	{"build standby 1", "pcp_recovery_node" + pcp + "-n 1", -1, "0 up primary, 1 up standby, 2 down standby"},
	{"build standby 2", "pcp_recovery_node" + pcp + "2", -1, "0 up primary, 1 up standby, 2 up standby"},
	{"recover a live standby", "pcp_recovery_node" + pcp + "2", -1, ""},
	{"recover the primary", "pcp_recovery_node" + pcp + "0", -1, ""},
	{"recover a node that is none", "pcp_recovery_node" + pcp + "7", -1, ""},
	{"lose the primary", "", 0, "0 down standby, 1 up primary, 2 up standby"},
	{"recover the old primary", "pcp_recovery_node" + pcp + "0", -1, "0 up standby, 1 up primary, 2 up standby"},
	{"promote a node that is none", "pcp_promote_node" + pcp + "7", -1, ""},
	{"promote the primary", "pcp_promote_node" + pcp + "1", -1, ""},
	{"switch over", "pcp_promote_node" + pcp + "-s 2", -1, "0 up standby, 1 up standby, 2 up primary"},
	{"detach", "pcp_detach_node" + pcp + "-g 0", -1, "0 down standby, 1 up standby, 2 up primary"},
	{"attach", "pcp_attach_node" + pcp + "0", -1, "0 up standby, 1 up standby, 2 up primary"},
	{"attach a node that is none", "pcp_attach_node" + pcp + "7", -1, "0 up standby, 1 up standby, 2 up primary"},
	{"a wrong password", "echo localhost:9898:pgpool:wrong >~/other && chmod 600 ~/other && PCPPASSFILE=~/other pcp_node_count" + pcp, -1, ""},
	{"look at the files", "cat /var/log/postgresql/pgpool_status && ls -A /run/postgresql", -1, ""},
	{"stop", "pcp_stop_pgpool" + pcp + "-m fast", -1, ""},
}

// account is what one step left to compare.
type account struct {
	name           string
	stdout, stderr string
	status         int
	nodes          string          // what pcp_node_info prints then, both ways
	calls          []string        // the scripts, sorted: nodes that go down together are told in any order
	log            map[string]bool // the lines administrators look for
}

func TestRunbook(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: takes half a minute: two pgpools are put through every step")
	}
	requirePackages(t)
	ours := filepath.Dir(pgcluster.BuildProgram(t, filepath.Join(t.TempDir(), "bin"), "pgpool"))
	var their, our []account
	var theirEnd, ourEnd string
	played := t.Run("play", func(t *testing.T) {
		t.Run("Pgpool-II", func(t *testing.T) {
			t.Parallel()
			their, theirEnd = play(t, install(t, ours, "/usr/sbin/pgpool"))
		})
		t.Run("ours", func(t *testing.T) {
			t.Parallel()
			our, ourEnd = play(t, install(t, ours, ourDir+"/pgpool", "pcp_node_info_layout = 4.3"))
		})
	})
	if !played {
		return
	}
	for i, st := range steps {
		t.Run(st.name, func(t *testing.T) { compare(t, st, their[i], our[i]) })
	}
	if theirEnd != ourEnd {
		t.Errorf("pgpool ended with %q, ours with %q", theirEnd, ourEnd)
	}
}

// play does all steps.
func play(t *testing.T, s *installation) (all []account, end string) {
	s.pgpool.Spawn(t)
	for _, st := range steps {
		a := account{name: st.name}
		if st.stop >= 0 {
			s.databases[st.stop].Stop(t, "immediate")
		}
		if st.do != "" {
			a.stdout, a.stderr, a.status = s.shell(t, st.do)
			if st.then != "" && !strings.Contains(a.stdout, "Successful") {
				t.Fatalf("%s: %s%s", st.do, a.stdout, a.stderr)
			}
		}
		if st.then != "" {
			s.settle(t, st.then)
			a.nodes = s.nodeInfo(t, st.then)
		}
		a.calls, a.log = s.calls(t), s.notable(t)
		all = append(all, a)
	}
	return all, s.pgpool.AwaitEnd(t, time.Minute)
}

// nodeInfo is what pcp_node_info prints of all nodes, in both forms. A standby that lost its stream between two looks has it again.
func (s *installation) nodeInfo(t *testing.T, want string) (text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := pgcluster.Poll(ctx, "pcp_node_info shows the standbys streaming", func() (bool, error) {
		text, _, _ = s.shell(t, "for i in 0 1 2; do pcp_node_info"+pcp+"-v $i; pcp_node_info"+pcp+"$i; done")
		n := strings.Count(want, "up standby")
		return len(upStreaming.FindAllString(text, -1)) == n && strings.Count(text, ": streaming\n") >= n, nil
	})
	if err != nil {
		t.Errorf("%v: %s", err, text)
	}
	return text
}

// compare judges one step. What our log has beyond Pgpool-II's is no difference: nobody looks for it.
func compare(t *testing.T, st step, their, our account) {
	t.Logf("%s\n%s%sstatus %d\n%s", st.do, our.stdout, our.stderr, our.status, strings.Join(our.calls, "\n"))
	if their.stdout != our.stdout || their.stderr != our.stderr || their.status != our.status {
		t.Errorf("%s: %q, %q, status %d; ours %q, %q, status %d", st.do, their.stdout, their.stderr, their.status, our.stdout, our.stderr, our.status)
	}
	if theirs, ours := masked(their.nodes), masked(our.nodes); theirs != ours {
		t.Errorf("pcp_node_info:\n%sours:\n%s", theirs, ours)
	}
	if !slices.Equal(their.calls, our.calls) {
		t.Errorf("called:\n%s\nours:\n%s", strings.Join(their.calls, "\n"), strings.Join(our.calls, "\n"))
	}
	for line := range their.log {
		if !our.log[line] && !st.differs(line) {
			t.Errorf("our log does not say %q", line)
		}
	}
}

var (
	stamp = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
	delay = regexp.MustCompile(`(?m)(Replication Delay +: |^(?:\S+ ){8})\d+`)
	// A line of a standby that is in use, of which the primary has a stream.
	upStreaming = regexp.MustCompile(`(?m) up up standby standby \d+ streaming async `)
)

// masked is what pcp_node_info prints without what depends on the moment.
func masked(nodes string) string {
	return delay.ReplaceAllString(stamp.ReplaceAllString(nodes, "TIME"), "${1}BYTES")
}

// calls returns the scripts that were called since the last time.
func (s *installation) calls(t *testing.T) (all []string) {
	all = s.newCalls(t, s.host)
	for i, h := range s.servers {
		for _, line := range s.newCalls(t, h) {
			all = append(all, serverName(i)+": "+line)
		}
	}
	slices.Sort(all)
	// The release 4.3 calls failover_command again for a node that went down just before another one.
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(line string) bool { return line == "" })
}

// newCalls returns the lines a host has written into its call log since the last time.
func (s *installation) newCalls(t *testing.T, h *hosts.Host) []string {
	var lines []string
	for line := range strings.Lines(s.Run(t, h, "postgres", "cat "+callLog)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	taken := s.called[h]
	s.called[h] = len(lines)
	return lines[min(taken, len(lines)):]
}

// notable returns the lines administrators look for, of what the log says since the last time.
func (s *installation) notable(t *testing.T) map[string]bool {
	log, all := s.pgpool.LogText(t), map[string]bool{}
	for _, m := range message.FindAllStringSubmatch(log[s.read:], -1) {
		line := released.Replace(unsteady.ReplaceAllString(strings.TrimSpace(m[1]), "N"))
		if m := banner.FindStringSubmatch(line); m != nil {
			line = "=== " + strings.ToUpper(m[1][:1]) + m[1][1:] + " ==="
		}
		if sought.MatchString(line) {
			all[strings.Join(strings.Fields(line), " ")] = true // the number of blanks before an argument has changed
		}
	}
	s.read = len(log)
	return all
}

var (
	message  = regexp.MustCompile(`(?m)^.*?(?:LOG|WARNING|ERROR|FATAL):  (.*)$`)
	unsteady = regexp.MustCompile(`\bpid \[\d+\]|version .*`)
	banner   = regexp.MustCompile(`^((?:starting degeneration|starting fail back|failover done|failback done)\..*)$`)
	released = strings.NewReplacer(`""`, "")
	sought   = regexp.MustCompile(`^(received \w+( backend)? request for node_id|Pgpool-II parent process has received failover request|===|` +
		`execute command: |find_primary_node|failover: set new (primary|main) node|` +
		`starting recovering node|executing recovery|node recovery|checking if postmaster|recovery done|pgpool-II successfully started|` +
		`node status\[|authentication failed|process recovery request failed|could not process promote|invalid promote)`)
)

// differs tells whether a line of Pgpool-II's log has no counterpart at this step, for a reason.
func (st step) differs(line string) bool {
	return slices.ContainsFunc(differences, func(d difference) bool { return d.step.MatchString(st.name) && d.line.MatchString(line) })
}

type difference struct {
	step, line *regexp.Regexp
	why        string
}

var differences = []difference{
	{regexp.MustCompile(`start`), regexp.MustCompile(`^node status|make_persistent_db_connection`), "find_primary_node says it"},
	{regexp.MustCompile(`build|recover|attach`), regexp.MustCompile(`^find_primary_node`), "the primary is known"},
	{regexp.MustCompile(`build|recover|attach`), regexp.MustCompile(`^Pgpool-II parent process`), "the request is in the log, for the node"},
	{regexp.MustCompile(`live standby`), regexp.MustCompile(`^starting recovering`), "refused before anything starts"},
	{regexp.MustCompile(`switch over`), regexp.MustCompile(`^received degenerate`), "it is a request to promote"},
	{
		regexp.MustCompile(`switch over|lose the primary`), regexp.MustCompile(`^find_primary_node.*(standby node is [01]|is ongoing)`),
		"each failback searches again, while the old primary is being turned back",
	},
	{regexp.MustCompile(`attach a node that is none`), regexp.MustCompile(``), "nothing happens, there is no such node"},
}
