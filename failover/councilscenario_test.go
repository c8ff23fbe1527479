package failover

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
)

// TestCouncils plays the cases of testdata/council/*.txt, see testdata/README.
func TestCouncils(t *testing.T) {
	files, err := filepath.Glob("testdata/council/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, c := range splitCases(string(want)) {
			played := c.text
			if c.name != "" {
				cases++
				synctest.Test(t, func(t *testing.T) { played = playCouncil(t, c) })
			}
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
	if cases < 20 {
		t.Errorf("%d cases", cases)
	}
}

// chair plays one case.
type chair struct {
	*council
	name  string
	ran   int // commands that were told
	last  string
	noted *cluster.View
}

func playCouncil(t *testing.T, sc scenarioCase) string {
	h := &chair{name: sc.name}
	defer func() { h.end() }()
	var out strings.Builder
	for line := range strings.Lines(sc.text) {
		if strings.HasPrefix(line, "  ") {
			continue // what happened before
		}
		out.WriteString(line)
		line = strings.TrimSpace(line)
		switch word, rest, _ := strings.Cut(line, " "); word {
		case "", "#", "case":
		case "pgpools":
			var n, servers int
			if _, err := fmt.Sscanf(rest, "%d servers %d", &n, &servers); err != nil {
				t.Fatal(err)
			}
			h.council = newCouncil(t, n, servers)
			h.policy.VoteExpiry = 15 * time.Second
			h.begin()
			synctest.Wait()
			time.Sleep(time.Second)
			_ = h.report()
			out.WriteString(h.shown())
		case "set":
			h.setting(rest)
		case ">":
			out.WriteString(h.step(rest))
		default:
			t.Fatalf("case %s: what is %q?", h.name, line)
		}
	}
	return out.String()
}

func (h *chair) setting(s string) {
	name, value, _ := strings.Cut(s, " = ")
	d, _ := time.ParseDuration(value)
	h.set(func() {
		switch name {
		case "commit takes":
			h.commitTime = d
		case "command takes":
			h.command = d
		case "promotion takes":
			h.promoting = d
		case "fence takes":
			h.fencing = d
		case "promotion begins at once":
			h.atOnce = value == "on"
		case "failover_when_quorum_exists":
			h.policy.WhenQuorumExists = value == "on"
		case "failover_require_consensus":
			h.consensus = value == "on"
		case "detach_false_primary":
			h.policy.DetachFalsePrimary = value == "on"
		case "failover_command":
			h.policy.FailoverCommand = value
		case "follow_primary_command":
			h.policy.FollowPrimaryCommand = value
		default:
			h.t.Fatalf("case %s: no setting %q", h.name, name)
		}
	})
}

func (h *chair) step(line string) string {
	if who, what, ok := strings.Cut(line, ": "); ok {
		id, err := strconv.Atoi(strings.TrimPrefix(who, "pgpool "))
		if err != nil {
			h.t.Fatalf("case %s: who is %q?", h.name, who)
		}
		return h.act(h.members[id], strings.Fields(what))
	}
	words := strings.Fields(line)
	number := func() int { n, _ := strconv.Atoi(words[len(words)-1]); return n }
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			h.t.Fatal(err)
		}
		time.Sleep(d)
	case "kill": // a server
		h.set(func() { h.servers[number()].dead = true })
	case "promote": // a server, and nobody has asked us
		h.set(func() { h.servers[number()].role = cluster.RolePrimary })
	case "demote":
		h.set(func() { h.servers[number()].role = cluster.RoleStandby })
	case "cut": // a pgpool node
		h.set(func() { h.members[number()].cut = true })
		h.elect()
	case "heal":
		h.set(func() { h.members[number()].cut = false })
		h.elect()
	case "crash":
		m := h.members[number()]
		h.set(func() { m.dead = true })
		m.stop()
		h.elect()
	case "behead": // nobody leads, and nobody knows it
		h.set(func() { h.leader = -1 })
	case "elect":
		h.elect()
	case "writes":
		defer h.set(func() { h.writes = 0 })
		return fmt.Sprintf("  %d\n", h.writes)
	case "lead": // another one is to lead
		h.set(func() {
			for _, m := range h.members {
				h.barred[m.id] = m.id != number()
			}
		})
		h.elect()
	default:
		h.t.Fatalf("case %s: what is %q?", h.name, line)
	}
	return h.report()
}

// act has a node find something out or an administrator of it want something.
func (h *chair) act(m *member, words []string) string {
	var ids []cluster.NodeID
	for _, w := range words {
		if n, err := strconv.Atoi(w); err == nil {
			ids = append(ids, cluster.NodeID(n))
		}
	}
	var order Request
	switch words[0] {
	case "notes":
		h.noted = m.store.Current()
	case "finds":
		seen := m.store.Current()
		if slices.Contains(words, "noted") {
			seen = h.noted
		}
		m.Report(Detach{Nodes: ids, Origin: ByHealthCheck, Seen: seen})
	case "session":
		m.Report(Detach{Nodes: ids, Origin: ByBackendError, Evidence: Refused, Seen: m.store.Current()})
	case "well":
		m.Well(ids[0], m.store.Current())
	case "uses":
		m.Used(ids[0])
	case "blind":
		h.set(func() { m.blind[ids[0]] = true })
	case "roles":
		m.Report(m.Seek(h.t.Context(), m.store.Current()))
	case "detach":
		order = Detach{Nodes: ids, Origin: ByOperator}
	case "attach":
		order = Attach{Node: ids[0], Origin: ByOperator}
	case "promote":
		order = Promote{Node: ids[0], Switchover: slices.Contains(words, "switchover")}
	default:
		h.t.Fatalf("case %s: what is %q?", h.name, words)
	}
	said := ""
	if slices.Contains(words, "crash") { // the leader, while it is asked
		leader := h.members[ids[1]]
		order = Detach{Nodes: ids[:1], Origin: ByOperator}
		time.AfterFunc(time.Second, func() {
			h.set(func() { leader.dead = true })
			leader.stop()
			h.elect()
		})
	}
	if order != nil {
		if err := m.Submit(order); err != nil {
			said = "  refused: " + err.Error() + "\n"
		} else if slices.Contains(words, "settle") {
			began := time.Now()
			if err := m.Settle(h.t.Context()); err != nil {
				said = "  not settled: " + err.Error() + "\n"
			} else {
				said = fmt.Sprintf("  settled after %v\n", time.Since(began).Round(100*time.Millisecond))
			}
		}
	} else {
		time.Sleep(50 * time.Millisecond)
	}
	return said + h.report()
}

// report tells what has happened since the last one: commands, lines of the log, and what the nodes show.
func (h *chair) report() string {
	synctest.Wait()
	var out strings.Builder
	pid := fmt.Sprintf("[%d]", os.Getpid())
	for _, m := range h.members {
		m.out.Flush(time.Minute)
		text := m.lines.String()
		for line := range strings.Lines(text[m.told:]) {
			if telling(line) {
				fmt.Fprintf(&out, "  log %d  %s", m.id, strings.ReplaceAll(line, pid, "[77]"))
			}
		}
		m.told = len(text)
	}
	h.mu.Lock()
	for _, r := range h.council.ran[h.ran:] {
		fmt.Fprintf(&out, "  %s\n", r)
	}
	h.ran = len(h.council.ran)
	h.mu.Unlock()
	if shown := h.shown(); shown != h.last {
		out.WriteString(shown)
		h.last = shown
	}
	if out.Len() == 0 {
		return "  nothing\n"
	}
	return out.String()
}

// telling are the lines about the agreement.
func telling(line string) bool {
	for _, words := range []string{
		"watchdog", "WARNING", "quarantine", "We are not able", "canceled by other", "going on with", "Done", "done.", "backend:",
		"failed to find", "set new primary",
	} {
		if strings.Contains(line, words) {
			return true
		}
	}
	return false
}

// shown is what SHOW pool_nodes tells on the nodes.
func (h *chair) shown() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out strings.Builder
	alike := true
	first := ""
	for _, m := range h.members {
		if m.dead {
			continue
		}
		c := columns(m.store.Current())
		alike = alike && (first == "" || c == first)
		first = c
	}
	for _, m := range h.members {
		switch {
		case m.dead:
		case alike:
			return "  all       " + brief(m.store.Current()) + "\n"
		default:
			word := map[Standing]string{StandingAlone: " alone", StandingLeads: " leads"}[m.standing]
			fmt.Fprintf(&out, "  pgpool %d  %s%s\n", m.id, brief(m.store.Current()), word)
		}
	}
	return out.String()
}
