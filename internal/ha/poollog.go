package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// poolEvent is one line of pgpool's log.
type poolEvent struct {
	At      time.Time
	Level   string
	Message string
	Detail  string
	Node    int // -1 where the line concerns none
}

// poolTime is how Pgpool-II's default log_line_prefix begins.
const poolTime = "2006-01-02 15:04:05"

var poolStamp = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?`)

// readPoolLog reads the log of a pgpool: lines of JSON (log_format = json), or text lines that begin with a time, of a peer. Lines of
// neither form, such as the output of commands, are passed over.
func readPoolLog(r io.Reader) ([]poolEvent, error) {
	var events []poolEvent
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if e, ok := readPoolLine(strings.TrimSuffix(line, "\n")); ok {
			events = append(events, e)
		}
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func readPoolLine(line string) (poolEvent, bool) {
	if strings.HasPrefix(line, "{") {
		return readPoolJSON(line)
	}
	stamp := poolStamp.FindString(line) // not always at the beginning: 4.3 writes some words without a newline before
	at, err := time.ParseInLocation(poolTime, stamp, time.Local)
	if err != nil {
		return poolEvent{}, false
	}
	for _, level := range []string{"LOG", "WARNING", "ERROR", "FATAL", "PANIC", "NOTICE", "INFO"} {
		if _, message, ok := strings.Cut(line, ": "+level+":"); ok {
			return poolEvent{At: at, Level: level, Message: strings.TrimSpace(message), Node: -1}, true
		}
	}
	return poolEvent{}, false
}

func readPoolJSON(line string) (poolEvent, bool) {
	var fields struct {
		Time    time.Time `json:"time"`
		Level   string    `json:"level"`
		Message string    `json:"message"`
		Detail  string    `json:"detail"`
		Node    *int      `json:"node"`
	}
	if err := json.Unmarshal([]byte(line), &fields); err != nil || fields.Time.IsZero() {
		return poolEvent{}, false
	}
	e := poolEvent{At: fields.Time, Level: fields.Level, Message: fields.Message, Detail: fields.Detail, Node: -1}
	if fields.Node != nil {
		e.Node = *fields.Node
	}
	return e, true
}

// failoverSeen is one failover as pgpool's log tells it. Times that were not told are zero.
type failoverSeen struct {
	Nodes    []int // condemned
	Detected time.Time
	Begun    time.Time // === Starting degeneration
	Fenced   time.Time // the first sign that old connections are out of use
	Command  time.Time // or the choice of the node to promote, where no script does it
	Found    time.Time
	Primary  int // the new one, -1 for none
	Done     time.Time
}

// condemnation is the moment from which nothing may begin on older connections to a node.
type condemnation struct {
	Node int
	At   time.Time
}

var (
	requestLine  = regexp.MustCompile(`^received degenerate backend request for node_id: (\d+)`)
	beginLine    = regexp.MustCompile(`^(?:=== )?[Ss]tarting degeneration\. shutdown host \S+\((\d+)\)`)
	commandLine  = regexp.MustCompile(`^execute command: `)
	stoppedLine  = regexp.MustCompile(`^auto_failover: the server of node \d+, the old primary, (is|could not be) stopped`)
	electedLine  = regexp.MustCompile(`^auto_failover: node \d+ is promoted`)
	primaryLine  = regexp.MustCompile(`^failover: set new primary node: (-?\d+)`)
	finishedLine = regexp.MustCompile(`^(?:=== )?[Ff]ailover done\. shutdown host \S+\((\d+)\)`)
)

// failovers reads the failovers out of a log, in order of their beginning. Nodes that are condemned before the first of them is fenced
// share one. ports are the nodes' ports, index = node.
func failovers(events []poolEvent, ports []int) []failoverSeen {
	var all []failoverSeen
	var asked time.Time // the first request since the last failover
	for _, e := range events {
		switch {
		case requestLine.MatchString(e.Message):
			if asked.IsZero() {
				asked = e.At
			}
		case beginLine.MatchString(e.Message):
			if n := len(all); n == 0 || !all[n-1].Fenced.IsZero() {
				all = append(all, failoverSeen{Detected: earlier(asked, e.At), Begun: e.At, Primary: -1})
			}
			last := &all[len(all)-1]
			last.Nodes = append(last.Nodes, nodeAt(beginLine, e, ports))
			asked = time.Time{}
		default:
			for i := range all {
				if all[i].Done.IsZero() {
					all[i].follow(e, ports)
				}
			}
		}
	}
	return all
}

// nodeAt is the node whose port stands in a line; -1 for none of ours.
func nodeAt(line *regexp.Regexp, e poolEvent, ports []int) int {
	port, _ := strconv.Atoi(line.FindStringSubmatch(e.Message)[1]) // digits
	return slices.Index(ports, port)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// follow takes a line that came after the beginning and before the end.
func (f *failoverSeen) follow(e poolEvent, ports []int) {
	first := func(t *time.Time) {
		if t.IsZero() {
			*t = e.At
		}
	}
	switch {
	case commandLine.MatchString(e.Message), electedLine.MatchString(e.Message):
		first(&f.Fenced)
		first(&f.Command)
	case stoppedLine.MatchString(e.Message):
		first(&f.Fenced)
	case primaryLine.MatchString(e.Message):
		first(&f.Fenced)
		first(&f.Found)
		f.Primary, _ = strconv.Atoi(primaryLine.FindStringSubmatch(e.Message)[1]) // digits
	case finishedLine.MatchString(e.Message) && slices.Contains(f.Nodes, nodeAt(finishedLine, e, ports)):
		first(&f.Fenced)
		f.Done = e.At
	}
}

// condemnations are the moments in which the nodes of the failovers were out of use.
func condemnations(all []failoverSeen) []condemnation {
	var out []condemnation
	for _, f := range all {
		for _, node := range f.Nodes {
			if !f.Fenced.IsZero() {
				out = append(out, condemnation{node, f.Fenced})
			}
		}
	}
	return out
}

// involving is the first failover that condemned a node after a moment.
func involving(all []failoverSeen, node int, since time.Time) (failoverSeen, error) {
	for _, f := range all {
		if slices.Contains(f.Nodes, node) && !f.Begun.Before(since.Truncate(time.Second)) {
			return f, nil
		}
	}
	return failoverSeen{}, fmt.Errorf("pgpool's log tells of no failover of node %d after %s", node, clock(since))
}
