package replication

import (
	"errors"
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

var update = flag.Bool("update", false, "write what Diagnose says into the scenario files")

// TestDiagnose reads testdata/diagnose/*.txt: cases of facts, one line a node, and what is found.
//
//	case NAME
//	view primary=1 [tli=..] [history=TLI:LSN,...] [crossing=FROM:TO [givenup=NODE]] [seeking] [op]
//	node N up|down|detached primary|standby|silent tli= received= replayed= up=HOST:PORT streaming slot= slots=a,b*,c! for=DURATION
//	node N down silent agent [spared] [running] [starting=DURATION] [says="..."] [unled] [nostart] [standby] [broken] state="..." tli= checkpoint=
//	----
//	N KIND REMEDY [needs an agent]: WHY
//	leftover N SLOT
//
// A slot with ! is active, with * reserved. Node N is hostN:5432, its system identifier 1.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/diagnose/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			diagnoseFile(t, file)
		})
	}
}

func diagnoseFile(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i, block := range strings.Split(string(raw), "\n\n") {
		asked, want, _ := strings.Cut(strings.Trim(block, "\n"), "\n----\n")
		asked = strings.TrimSuffix(asked, "\n----")
		f, err := readFacts(asked)
		if err != nil {
			t.Fatalf("%s, case %d: %v", file, i+1, err)
		}
		got := diagnosisText(f)
		if got != strings.TrimRight(want, "\n") && !*update {
			t.Errorf("%s:\n%s\n---- found\n%s\n---- wanted\n%s", file, asked, got, want)
		}
		if i > 0 {
			out.WriteString("\n")
		}
		out.WriteString(strings.TrimRight(asked+"\n----\n"+got, "\n") + "\n")
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func diagnosisText(f *Facts) string {
	var lines []string
	for _, d := range Diagnose(f) {
		needs := ""
		if d.Needs {
			needs = " needs an agent"
		}
		lines = append(lines, fmt.Sprintf("%d %v %v%s: %s", d.Node, d.Kind, d.Remedy, needs, d.Why))
	}
	for _, l := range leftovers(f) {
		lines = append(lines, fmt.Sprintf("leftover %d %s", l.node, l.slot))
	}
	return strings.Join(lines, "\n")
}

var errNoAnswer = errors.New("connection refused")

func readFacts(text string) (*Facts, error) {
	f := &Facts{View: &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode}}
	for line := range strings.Lines(text) {
		words := splitWords(strings.TrimSpace(line))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") || words[0] == "case" {
			continue
		}
		var err error
		switch words[0] {
		case "view":
			err = f.readView(words[1:])
		case "node":
			err = f.readNode(words[1:])
		default:
			err = fmt.Errorf("unknown line %q", line)
		}
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// splitWords splits at spaces outside of quotes.
func splitWords(s string) []string {
	quoted := false
	words := strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], `"`, "")
	}
	return words
}

func (f *Facts) readView(words []string) (err error) {
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "primary":
			f.View.Primary = cluster.NodeID(number(value, &err))
		case "history":
			f.History.Timeline = 1
			for _, part := range strings.Split(value, ",") {
				tli, at, _ := strings.Cut(part, ":")
				fork := Fork{Timeline: cluster.Timeline(number(tli, &err)), End: lsn(at, &err)}
				f.History.Forks = append(f.History.Forks, fork)
				f.History.Timeline = fork.Timeline + 1
			}
		case "tli":
			f.History.Timeline = cluster.Timeline(number(value, &err))
		case "crossing":
			from, to, _ := strings.Cut(value, ":")
			f.View.Crossing = &cluster.Crossing{
				From: cluster.NodeID(number(from, &err)), To: cluster.NodeID(number(to, &err)), GivenUp: cluster.NoNode,
			}
		case "givenup": // after crossing
			f.View.Crossing.GivenUp = cluster.NodeID(number(value, &err))
		case "seeking":
			f.View.Seeking = true
		case "op":
			f.View.Op = cluster.OpFailover
		default:
			return fmt.Errorf("unknown word %q", w)
		}
	}
	return err
}

func number(s string, err *error) uint64 {
	n, failed := strconv.ParseUint(s, 10, 64)
	*err = errors.Join(*err, failed)
	return n
}

func lsn(s string, err *error) cluster.LSN {
	l, failed := cluster.ParseLSN(s)
	*err = errors.Join(*err, failed)
	return l
}

// readNode reads a node's line; nodes come in their order.
func (f *Facts) readNode(words []string) (err error) {
	id := cluster.NodeID(len(f.Nodes))
	n := cluster.Node{ID: id, Host: fmt.Sprintf("host%d", id), Port: 5432, Status: cluster.StatusUp}
	at := NodeFacts{State: cluster.ServerState{Node: id, SystemID: 1}, Version: 15, Control: cluster.Control{SystemID: 1}}
	s, c := &at.State, &at.Control
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "up":
			if value != "" {
				host, port, _ := strings.Cut(value, ":")
				s.UpstreamHost, s.UpstreamPort = host, int(number(port, &err))
			}
		case "down":
			n.Status = cluster.StatusDown
		case "unused":
			n.Status, n.Port, s.Err = cluster.StatusUnused, 0, errUnused
		case "detached":
			n.Status, n.Detached = cluster.StatusDown, true
		case "always":
			n.AlwaysPrimary = true
		case "primary":
			s.InRecovery = false
		case "standby":
			if s.Err != nil {
				c.Standby = true
			} else {
				s.InRecovery = true
			}
		case "silent":
			s.Err = errNoAnswer
		case "agent":
			at.Hosted = true
		case "lost":
			at.ControlErr = errors.New("no route to host")
		case "spared":
			at.Spared = true
		case "norewind":
			at.NoRewind = true
		case "running":
			c.Running = true
		case "starting":
			var failed error
			c.Starting = true
			at.Starting, failed = time.ParseDuration(value)
			err = errors.Join(err, failed)
		case "says":
			c.Says = value
		case "unled":
			at.Unled = true
		case "nostart":
			at.NoStart = true
		case "broken":
			c.Broken = true
		case "streaming":
			s.Streaming = true
		case "host":
			n.Host = value
		case "system":
			s.SystemID = number(value, &err)
			c.SystemID = s.SystemID
		case "state":
			c.State = value
		case "tli":
			s.Timeline = cluster.Timeline(number(value, &err))
			c.Timeline = s.Timeline
		case "received":
			s.Received = lsn(value, &err)
		case "replayed":
			s.Replayed = lsn(value, &err)
			s.Received = max(s.Received, s.Replayed)
		case "checkpoint":
			c.Checkpoint = lsn(value, &err)
		case "slot":
			s.SlotName = value
		case "slots":
			for _, name := range strings.Split(value, ",") {
				bare := strings.TrimRight(name, "*!")
				at.Slots = append(at.Slots, Slot{Name: bare, Active: strings.Contains(name, "!"), Reserved: strings.Contains(name, "*")})
			}
		case "for":
			var failed error
			at.Silent, failed = time.ParseDuration(value)
			err = errors.Join(err, failed)
		default:
			return fmt.Errorf("unknown word %q", w)
		}
	}
	f.View.Nodes, f.Nodes = append(f.View.Nodes, n), append(f.Nodes, at)
	return err
}
