package logging

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
)

func testTime() time.Time { return time.Date(2024, 3, 9, 7, 5, 4, 32_900_000, time.UTC) }

func TestPrefix(t *testing.T) {
	session := Origin{App: "psql", ProcessName: "child", PID: 4711, DB: "shop", User: "anna"}
	tests := []struct{ prefix, session, nobody string }{
		{"", "", ""},
		{"%m: %a pid %p: ", "2024-03-09 07:05:04.032: psql pid 4711: ", "2024-03-09 07:05:04.032: [unknown] pid 0: "},
		{"%t|", "2024-03-09 07:05:04|", "2024-03-09 07:05:04|"},
		{"%u@%d ", "anna@shop ", "[No Connection]@[No Connection] "},
		{"%P %l ", "child 1 ", "[unknown] 1 "},
		{"%%a%", "%a", "%a"},
		{"100%% %q%Z%ä.", "100% \xa4.", "100% \xa4."}, // an escape is one byte
		{"%-6a|%6a|", "psql  |  psql|", "[unknown]|[unknown]|"},
		{"%-2a|%2a|", "psql|psql|", "[unknown]|[unknown]|"},
		{"%10%|%-|%5", "%|", "%|"},
		{"%06p", "  4711", "     0"},
	}
	for _, tt := range tests {
		p := compilePrefix(tt.prefix)
		session.lines.Store(0)
		if got := string(p.appendTo(nil, &session, testTime())); got != tt.session {
			t.Errorf("%q in a session: %q, want %q", tt.prefix, got, tt.session)
		}
		if got := string(p.appendTo(nil, &Origin{}, testTime())); got != tt.nobody {
			t.Errorf("%q outside: %q, want %q", tt.prefix, got, tt.nobody)
		}
	}
	if got := len(compilePrefix("%999999999999999999999a").appendTo(nil, &session, testTime())); got != maxPrefixWidth {
		t.Errorf("width is not bounded: %d", got)
	}
}

func TestPrefixNamesCannotForgeLines(t *testing.T) {
	o := Origin{App: "x\n2024: FATAL:  y\x00\x7f", DB: "d\r", User: "é\t"}
	if got, want := string(compilePrefix("%a|%d|%u|%-4u|").appendTo(nil, &o, testTime())), "x?2024: FATAL:  y??|d?|é?|é?  |"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTextLayout(t *testing.T) {
	full := Event{
		Severity: Error, Message: "one\ntwo", Detail: "a detail", Hint: "a hint", Query: "SELECT\n1", Context: "here",
		SQLState: "42601", Node: OnNode(2), Reason: "unseen",
	}
	loc := location{"proxy.(*Server).accept", "server.go", 12}
	tests := []struct {
		name string
		v    Verbosity
		e    Event
		loc  location
		want []string
	}{
		{"message", DefaultVerbose, Event{Severity: Log, Message: "hello"}, location{}, []string{"LOG:  hello"}},
		{"no message", DefaultVerbose, Event{Severity: Log}, location{}, []string{"LOG:  missing error text"}},
		{"all parts", DefaultVerbose, full, location{}, []string{
			"ERROR:  one\n\ttwo", "DETAIL:  a detail", "HINT:  a hint", "QUERY:  SELECT\n\t1", "CONTEXT:  here",
		}},
		{"terse", Terse, full, location{}, []string{"ERROR:  one\n\ttwo"}},
		{"verbose", Verbose, Event{Severity: Debug3, Message: "m", Hint: "h"}, loc, []string{
			"DEBUG:  m", "HINT:  h", "LOCATION:  proxy.(*Server).accept, server.go:12",
		}},
	}
	f := &layout{prefix: compilePrefix("%p-%l ")}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b lineBuffer
			f.appendTo(&b, &Origin{PID: 7}, testTime(), tt.v, &tt.e, tt.loc)
			var want strings.Builder
			for i, line := range tt.want { // the prefix stands on every line and counts it
				want.WriteString("7-" + string(rune('1'+i)) + " " + line + "\n")
			}
			if string(b.b) != want.String() {
				t.Errorf("got  %q\nwant %q", b.b, want.String())
			}
		})
	}
}

// No text, whoever wrote it, starts a line of its own.
func FuzzTextLines(f *testing.F) {
	f.Add("a\nb", "c\n\n", "d")
	f.Fuzz(func(t *testing.T, message, detail, app string) {
		lay := &layout{prefix: compilePrefix("P %a ")}
		var b lineBuffer
		lay.appendTo(&b, &Origin{App: app}, testTime(), DefaultVerbose, &Event{Severity: Log, Message: message, Detail: detail}, location{})
		for line := range strings.Lines(string(b.b)) {
			if !strings.HasPrefix(line, "P ") && !strings.HasPrefix(line, "\t") {
				t.Fatalf("line %q in %q", line, b.b)
			}
		}
	})
}

func TestJSON(t *testing.T) {
	o := &Origin{App: "psql", PID: 7, DB: "shop", User: "anna", Client: "10.0.0.1:5000"}
	tests := []struct {
		name string
		v    Verbosity
		e    Event
		o    *Origin
		want map[string]any
	}{
		{"short", DefaultVerbose, Event{Severity: Log, Message: "m"}, &Origin{PID: 1}, map[string]any{
			"level": "LOG", "message": "m", "pid": 1.0,
		}},
		{"session and node", DefaultVerbose, Event{
			Severity: Warning, Message: "a \"b\"\n\xff", Detail: "d", Hint: "h", Query: "q", Context: "c",
			SQLState: "08006", Node: OnNode(0), Gen: 12, Reason: "lost backend",
		}, o, map[string]any{
			"level": "WARNING", "message": "a \"b\"\n\ufffd", "detail": "d", "hint": "h", "query": "q", "context": "c",
			"sqlstate": "08006", "node": 0.0, "gen": 12.0, "reason": "lost backend",
			"db": "shop", "user": "anna", "client": "10.0.0.1:5000", "app": "psql", "pid": 7.0,
		}},
		{"the event knows better", Terse, Event{Severity: Fatal, Message: "m", Detail: "d", DB: "x", User: "y", Client: "z"}, o, map[string]any{
			"level": "FATAL", "message": "m", "db": "x", "user": "y", "client": "z", "app": "psql", "pid": 7.0,
		}},
	}
	f := &layout{format: JSON}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b lineBuffer
			f.appendTo(&b, tt.o, testTime(), tt.v, &tt.e, location{})
			if n := strings.Count(string(b.b), "\n"); n != 1 || !strings.HasSuffix(string(b.b), "\n") {
				t.Errorf("not one line: %q", b.b)
			}
			var got map[string]any
			if err := json.Unmarshal(b.b, &got); err != nil {
				t.Fatalf("%v: %q", err, b.b)
			}
			tt.want["time"] = "2024-03-09T07:05:04.032Z"
			if !maps.Equal(got, tt.want) {
				t.Errorf("got  %v\nwant %v", got, tt.want)
			}
		})
	}
}

func TestNodeRef(t *testing.T) {
	for _, id := range []int{-1, 0, 127} {
		if got := OnNode(id).ID(); got != id {
			t.Errorf("OnNode(%d).ID() = %d", id, got)
		}
	}
	if (Event{}).Node.ID() != -1 {
		t.Error("an event without a node names one")
	}
}
