package failover

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

var update = flag.Bool("update", false, "rewrite the scenario files with what happens now")

// minScenarios is how many cases the scenario files have at least.
const minScenarios = 60

// TestScenarios plays the cases of testdata/*.txt, see testdata/README.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases, names := 0, map[string]string{}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, c := range splitCases(string(want)) {
			if c.name != "" {
				cases++
				if other, twice := names[c.name]; twice {
					t.Errorf("%s: case %q is in %s, too", file, c.name, other)
				}
				names[c.name] = file
			}
			played := play(t, c)
			got.WriteString(played)
			if !*update && played != c.text {
				t.Errorf("%s: case %s: got\n%s\nwant\n%s", file, c.name, played, c.text)
			}
		}
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if cases < minScenarios {
		t.Errorf("%d cases, want at least %d", cases, minScenarios)
	}
}

type scenarioCase struct{ name, text string }

func splitCases(text string) []scenarioCase {
	var cases []scenarioCase
	current := scenarioCase{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "case "); ok {
			cases = append(cases, current)
			current = scenarioCase{name: strings.TrimSpace(name)}
		}
		current.text += line
	}
	return append(cases, current)
}

// player plays one case: it decides as the coordinator does, but carries nothing out.
type player struct {
	t        *testing.T
	name     string
	mode     cluster.Mode
	v, noted *cluster.View
	m        Memory
	p        Policy
	now      time.Time
}

// play is the text of the case with what happens now.
func play(t *testing.T, c scenarioCase) string {
	p := &player{t: t, name: c.name, mode: cluster.ModeStreaming, now: start}
	p.p = Policy{PID: 77, Failover: conf.Failover{
		FailoverCommand: "failover.sh d=%d m=%m H=%H P=%P M=%M", FailbackCommand: "failback.sh d=%d m=%m P=%P",
		FailoverOnBackendError: true, SearchPrimaryNodeTimeout: 300 * time.Second,
	}}
	var out strings.Builder
	for line := range strings.Lines(c.text) {
		if strings.HasPrefix(line, "  ") {
			continue // what happened before
		}
		out.WriteString(line)
		line = strings.TrimSpace(line)
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "", "#", "case":
		case "mode":
			p.mode = map[string]cluster.Mode{"raw": cluster.ModeRaw, "logical_replication": cluster.ModeLogical}[rest]
		case "set":
			p.set(rest)
		case "nodes":
			p.nodes(strings.Fields(rest))
		case ">":
			out.WriteString(p.step(rest))
		default:
			t.Fatalf("case %s: what is %q?", c.name, line)
		}
	}
	return out.String()
}

func (p *player) set(assignment string) {
	name, value, _ := strings.Cut(assignment, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch on := value == "on"; name {
	case "failover_command":
		p.p.FailoverCommand = value
	case "follow_primary_command":
		p.p.FollowPrimaryCommand = value
	case "failover_on_backend_error":
		p.p.FailoverOnBackendError = on
	case "failover_on_backend_shutdown":
		p.p.FailoverOnBackendShutdown = on
	case "detach_false_primary":
		p.p.DetachFalsePrimary = on
	default:
		p.t.Fatalf("case %s: no setting %q", p.name, name)
	}
}

func (p *player) nodes(words []string) {
	list := make([]conf.Backend, len(words))
	for i, word := range words {
		list[i] = conf.Backend{Hostname: "h" + strconv.Itoa(i), Port: 5432 + i, Weight: 1, Flag: conf.BackendFlag{
			DisallowFailover: strings.Contains(word, "DISALLOW"), AlwaysPrimary: strings.Contains(word, "ALWAYS"),
		}}
	}
	p.v, _ = First(p.mode, list, nil, start)
	for i, word := range words {
		n := &p.v.Nodes[i]
		state, _, _ := strings.Cut(word[strings.Index(word, "=")+1:], ",")
		switch state {
		case "primary":
			n.Status, p.v.Primary = cluster.StatusUp, n.ID
		case "up", "standby":
			n.Status = cluster.StatusUp
		case "down":
			n.Status = cluster.StatusDown
		case "unused":
			n.Status = cluster.StatusUnused
		case "waiting":
		default:
			p.t.Fatalf("case %s: what is node %q?", p.name, word)
		}
	}
	assignRoles(p.v)
}

// step plays a line behind ">".
func (p *player) step(line string) string {
	who, what, _ := strings.Cut(line, ": ")
	switch who {
	case "note the view":
		p.noted = p.v
		return ""
	case "a second later":
		p.now = p.now.Add(time.Second)
		return ""
	case "pcp":
		if why := refuse(p.v, p.request(who, what), &p.p); why != nil {
			return "  refused: " + why.Error() + "\n"
		}
	}
	return p.decide(who, p.request(who, what))
}

func (p *player) decide(who string, r Request) string {
	plan := Decide(p.v, p.m, r, p.p, p.now)
	p.m = plan.Memory
	if plan.View != nil {
		p.v = plan.View
	}
	var out strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&out, "  "+format+"\n", args...) }
	for _, why := range plan.Reasons {
		e := why.Event(0)
		level := ""
		if e.Severity != logging.Log {
			level = e.Severity.String() + ": "
		}
		detail := ""
		if e.Detail != "" {
			detail = " (" + e.Detail + ")"
		}
		say("log   %s%s%s", level, e.Message, detail)
	}
	if plan.View != nil {
		say("view  %s", describe(p.v))
	}
	for _, id := range plan.Confirm {
		say("check node %d now", id)
	}
	if plan.Fence {
		say("fence")
	}
	for _, cmd := range plan.Commands {
		if template := cmd.Kind.Template(&p.p); template != "" {
			p.m.Open.told(cmd, p.v)
			say("run   %s", cmd.Expand(template, p.v))
		}
	}
	if plan.View != nil && p.m.Open.Op != cluster.OpNone && who != "used" {
		say("then  %s", [...]string{"finish", "look once who is primary", "search for a primary"}[p.m.Open.Search])
	}
	if f := plan.Follow; f != nil {
		for _, id := range f.Nodes {
			say("follow %s", f.command(id).Expand(p.p.FollowPrimaryCommand, p.v))
		}
	}
	if out.Len() == 0 {
		say("nothing")
	}
	return out.String()
}

// request reads who asks for what.
func (p *player) request(who, what string) Request {
	words := strings.Fields(what)
	has := func(s string) bool { return slices.Contains(words, s) }
	detach := func(o Origin) Detach {
		d := Detach{Origin: o, Seen: p.v, TimedOut: has("timeout")}
		if has("outdated") {
			d.Seen = p.noted
		}
		for _, w := range words {
			if id, err := strconv.Atoi(w); err == nil {
				d.Nodes = append(d.Nodes, cluster.NodeID(id))
			}
		}
		return d
	}
	switch who {
	case "health check":
		d := detach(ByHealthCheck)
		d.Evidence = evidenceOf(words)
		if d.TimedOut {
			d.Evidence = Judged
		}
		d.Err = errors.New("no answer from " + words[0])
		return d
	case "session":
		d := detach(ByBackendError)
		d.Evidence = evidenceOf(words)
		return d
	case "shutdown":
		return detach(ByBackendShutdown)
	case "pcp":
		return p.operator(words, detach)
	case "recovery":
		return Attach{Node: detach(0).Nodes[0], Origin: ByRecovery}
	case "auto failback":
		d := detach(0)
		return Attach{Node: d.Nodes[0], Origin: ByAutoFailback, Seen: d.Seen}
	case "used":
		return NodeUsed{Node: detach(0).Nodes[0]}
	case "roles":
		return p.roles(words)
	case "search":
		return Sought{Roles: p.roles(words)}
	case "time is up":
		return Sought{Roles: p.roles(words), Over: true}
	case "done":
		return Sought{Over: true}
	case "follow ends":
		return FollowEnded{Run: p.m.Run}
	}
	p.t.Fatalf("case %s: who is %q?", p.name, who)
	return nil
}

func (p *player) operator(words []string, detach func(Origin) Detach) Request {
	d := detach(ByOperator)
	d.Seen = nil
	switch words[0] {
	case "attach":
		return Attach{Node: d.Nodes[0], Origin: ByOperator}
	case "promote":
		return Promote{Node: d.Nodes[0], Switchover: slices.Contains(words, "switchover")}
	}
	return d
}

func evidenceOf(words []string) Evidence {
	for e, word := range map[Evidence]string{
		Refused: "refused", Unreachable: "unreachable", TimedOut: "timeout", Unresolved: "unresolved", Broken: "broken",
		Answered: "answered",
	} {
		if slices.Contains(words, word) {
			return e
		}
	}
	return Judged
}

// roles reads what each node says: P primary, S standby, S<2 standby that streams from node 2, . nothing, x connection refused.
func (p *player) roles(words []string) RolesSeen {
	n := len(p.v.Nodes)
	r := RolesSeen{Seen: p.v, Roles: make([]cluster.Role, n), Gone: make([]bool, n), Upstream: make([]cluster.NodeID, n)}
	if slices.Contains(words, "outdated") {
		r.Seen = p.noted
	}
	for i, w := range words[:min(n, len(words))] {
		r.Upstream[i] = cluster.NoNode
		switch w[0] {
		case 'P':
			r.Roles[i] = cluster.RolePrimary
		case 'S':
			r.Roles[i] = cluster.RoleStandby
			if _, from, ok := strings.Cut(w, "<"); ok {
				id, _ := strconv.Atoi(from)
				r.Upstream[i] = cluster.NodeID(id)
			}
		case 'x':
			r.Gone[i] = true
		}
	}
	return r
}
