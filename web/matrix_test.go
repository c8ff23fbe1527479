package web

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
)

var update = flag.Bool("update", false, "write the expected results anew")

// The matrix: for each state of the cluster in testdata/matrix.txt, what each question is answered. A state is a line of words, see
// describe; what follows it up to an empty line are the answers.

var questions = []string{
	"/health", "/readiness", "/liveness", "/primary", "/replica", "/replica?lag=1MB", "/replica?lag=5s", "/read-only", "/leader",
	"/nodes/0/primary", "/nodes/1", "/nodes/1/primary", "/nodes/1/replica", "/nodes/1/replica?lag=16kB",
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "matrix.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	states := 0
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		comment, state := "", ""
		for line := range strings.Lines(block) {
			switch {
			case strings.HasPrefix(line, "#"):
				comment += line
			case state == "":
				state = strings.TrimSpace(line)
			}
		}
		if state == "" {
			t.Fatalf("no state in %q", block)
		}
		f, err := describe(state)
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		states++
		fmt.Fprintf(&out, "%s%s\n%s\n", comment, state, answers(f))
	}
	got := strings.TrimSuffix(out.String(), "\n")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if got != string(text) {
		t.Errorf("answers have changed; look at the difference after go test ./web -run TestMatrix -update\n%s", got)
	}
	if states < 20 {
		t.Errorf("only %d states", states)
	}
}

func answers(f *Facts) string {
	var out strings.Builder
	for _, q := range questions {
		path, query, _ := strings.Cut(q, "?lag=")
		a := answer(f, path, func(string) string { return query })
		reason := ""
		if _, rest, ok := strings.Cut(string(a.body), `"reason":"`); ok {
			reason, _, _ = strings.Cut(rest, `"`)
		}
		fmt.Fprintln(&out, strings.TrimSpace(fmt.Sprintf("  %-27s %d  %s", q, a.status, reason)))
	}
	return out.String()
}

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// describe makes the facts of words: "N=role,status,..." is a node, with lag=BYTES, late=DURATION, silent (it does not answer), stale (measured
// long ago), stray. The others stand for the fields of View and Facts.
func describe(state string) (*Facts, error) {
	f := &Facts{
		View: &cluster.View{Generation: 7, Mode: cluster.ModeStreaming, Primary: cluster.NoNode}, Gauges: &cluster.Gauges{}, Now: start,
		Started: true, Fresh: time.Minute,
	}
	for word := range strings.FieldsSeq(state) {
		name, value, _ := strings.Cut(word, "=")
		if _, err := strconv.Atoi(name); err == nil {
			if err := describeNode(f, value); err != nil {
				return nil, err
			}
			continue
		}
		switch name {
		case "raw":
			f.View.Mode = cluster.ModeRaw
		case "primary":
			n, err := strconv.Atoi(value)
			if err != nil {
				return nil, err
			}
			f.View.Primary = cluster.NodeID(n)
		case "seeking":
			f.View.Seeking, f.View.Op = true, cluster.OpFailover
		case "draining":
			f.View.Draining, f.View.Op = true, cluster.OpSwitchover
		case "failover":
			f.View.Op = cluster.OpFailover
		case "starting":
			f.Started = false
		case "stopping":
			f.Stopping = true
		case "unmeasured":
			f.Fresh = 0
		case "held":
			d, err := time.ParseDuration(value)
			if err != nil {
				return nil, err
			}
			f.Held = d
		case "watchdog":
			f.Watchdog = &Watchdog{
				State: strings.ToUpper(value), Leads: value == "leader", HasVIP: true, HoldsVIP: value == "leader", Quorum: "QUORUM EXIST",
			}
		case "novip":
			f.Watchdog.HoldsVIP = false
		default:
			return nil, fmt.Errorf("what is %q?", word)
		}
	}
	return f, nil
}

func describeNode(f *Facts, value string) error {
	n := cluster.Node{ID: cluster.NodeID(len(f.View.Nodes)), Host: "h", Port: 5432, Weight: 1, Status: cluster.StatusUp}
	g := cluster.NodeGauge{Probed: true, Reachable: true, Measured: start.Add(-time.Second)}
	for word := range strings.SplitSeq(value, ",") {
		name, arg, _ := strings.Cut(word, "=")
		switch name {
		case "primary":
			n.Role = cluster.RolePrimary
			if f.View.Primary == cluster.NoNode {
				f.View.Primary = n.ID
			}
		case "standby":
			n.Role = cluster.RoleStandby
		case "main":
			n.Role = cluster.RoleMain
		case "replica":
			n.Role = cluster.RoleReplica
		case "unused":
			n.Status = cluster.StatusUnused
		case "waiting":
			n.Status = cluster.StatusWaiting
		case "up":
		case "down":
			n.Status = cluster.StatusDown
		case "quarantine":
			n.Status = cluster.StatusQuarantine
		case "stray":
			n.Stray = true
		case "silent":
			g.Reachable = false
		case "stale":
			g.Measured = start.Add(-time.Hour)
		case "unprobed":
			g = cluster.NodeGauge{}
		case "lag":
			lag, err := ParseLag(arg)
			if err != nil {
				return err
			}
			g.Lag = lag.Bytes
		case "late":
			d, err := time.ParseDuration(arg)
			if err != nil {
				return err
			}
			g.LagTime, g.HasLagTime = d, true
		default:
			return fmt.Errorf("what is %q?", word)
		}
	}
	f.View.Nodes, f.Gauges.Nodes = append(f.View.Nodes, n), append(f.Gauges.Nodes, g)
	return nil
}
