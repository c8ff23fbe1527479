package pcp

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

var update = flag.Bool("update", false, "write the scenario file anew")

// TestCommands plays testdata/commands.txt: requests, and behind the dashes the packets that answer them and what was done. Lines
// before the request change the world.
func TestCommands(t *testing.T) {
	const path = "testdata/commands.txt"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
		input, _, _ := strings.Cut(block, "\n----")
		out = append(out, input+"\n----\n"+play(t, input))
	}
	got := strings.Join(out, "\n") // each answer ends with a line feed
	switch {
	case *update:
		writeFile(t, path, got)
	case got != string(data):
		t.Errorf("run with -update and look at the difference:\n%s", got)
	}
}

// play sends the requests of a block and words the replies.
func play(t *testing.T, input string) string {
	w := newWorld()
	s := serve(t, w)
	defer s.stop()
	p := s.dial(t).login()
	var requests []byte
	for _, line := range strings.Split(input, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "#":
		case len(word) == 1:
			requests = AppendPacket(requests, word[0], []byte(unquote(t, rest)))
		default:
			change(t, w, s, word, rest)
		}
	}
	p.send(AppendPacket(requests, TypeTerminate, nil))
	var b strings.Builder
	for {
		got, err := p.in.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", input, err)
			}
			break
		}
		fmt.Fprintf(&b, "%c %d %s\n", got.Type, len(got.Payload)+lengthSize, strconv.Quote(string(got.Payload)))
	}
	s.stop()
	for _, call := range w.calls {
		fmt.Fprintln(&b, "did", call)
	}
	return b.String()
}

func unquote(t *testing.T, s string) string {
	if s == "" {
		return ""
	}
	text, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return text
}

func change(t *testing.T, w *world, s *served, word, rest string) {
	switch word + " " + rest {
	case "layout 4.3":
		s.set(func(x *Settings) { x.NodeInfo = conf.NodeInfo43 })
	case "delay bytes":
		w.gauges.Nodes[1].Lag = 12345
	case "delay time":
		w.gauges.Nodes[1].Lag, w.gauges.Nodes[1].HasLagTime, w.gauges.Nodes[1].LagTime = 12345, true, 1500*time.Microsecond
	case "weights 1:3":
		w.view.Nodes[1].Weight = 3
	case "node 1 quarantine":
		w.view.Nodes[1].Status = cluster.StatusQuarantine
	case "node 1 down":
		w.view.Nodes[1].Status = cluster.StatusDown
		w.probes = w.probes[:1]
	case "gap here":
		w.view.Nodes = append(w.view.Nodes, cluster.Node{ID: 2})
	case "mode raw":
		w.view.Mode = cluster.ModeRaw
		w.view.Nodes[0].Role, w.view.Nodes[1].Role = cluster.RoleMain, cluster.RoleReplica
	case "op failover":
		w.view.Op = cluster.OpFailover
	case "op failback":
		w.view.Op = cluster.OpFailback
	case "op promote":
		w.view.Op = cluster.OpPromote
	case "cache on":
		w.cache = true
	case "collector off":
		w.rotate = &Error{Message: "process log rotation request failed", Detail: "logging_collector is disabled"}
	default:
		t.Fatalf("unknown line: %s %s", word, rest)
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]int{
		"": 0, "\x00": 0, "7\x00": 7, "12": 12, " 3x\x00": 3, "-1\x00": -1, "+4": 4, "x": 0, "-": 0, "9 \x00s": 9,
		"99999999999999999999": 1<<31 - 1, "-99999999999": -1 << 31,
	} {
		if got := number(Packet{Payload: []byte(in)}); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}
