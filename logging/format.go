package logging

import (
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// layout is the compiled, immutable part of Config that shapes lines.
type layout struct {
	prefix    prefix
	format    Format
	verbosity Verbosity
}

// location is where an event was logged; zero unless log_error_verbosity is verbose.
type location struct {
	fn, file string
	line     int
}

// appendTo appends all lines of e, each ending in a newline.
func (f *layout) appendTo(b *lineBuffer, o *Origin, now time.Time, v Verbosity, e *Event, loc location) {
	if f.format == JSON {
		f.appendJSON(b, o, now, v, e, loc)
		return
	}
	line := func(label, text string) {
		if text != "" {
			b.b = f.prefix.appendTo(b.b, o, now)
			b.b = append(b.b, label...)
			b.b = append(b.b, ":  "...)
			b.b = appendIndented(b.b, text)
			b.b = append(b.b, '\n')
		}
	}
	message := e.Message
	if message == "" {
		message = "missing error text"
	}
	line(e.Severity.String(), message)
	if v == Terse {
		return
	}
	line("DETAIL", e.Detail)
	line("HINT", e.Hint)
	line("QUERY", e.Query)
	line("CONTEXT", e.Context)
	if loc.file != "" {
		line("LOCATION", loc.fn+", "+loc.file+":"+strconv.Itoa(loc.line))
	}
}

// appendIndented appends text with a tab after each newline, so that no text can pass for a line of its own.
func appendIndented(b []byte, text string) []byte {
	for {
		i := strings.IndexByte(text, '\n')
		if i < 0 {
			return append(b, text...)
		}
		b = append(b, text[:i+1]...)
		b = append(b, '\t')
		text = text[i+1:]
	}
}

// appendJSON writes the event through zerolog. The field names are fixed: programs read them.
func (f *layout) appendJSON(b *lineBuffer, o *Origin, now time.Time, v Verbosity, e *Event, loc location) {
	z := zerolog.New(b)
	j := z.Log()
	j.Str("time", now.Format("2006-01-02T15:04:05.000Z07:00"))
	j.Str("level", e.Severity.String())
	j.Str("message", e.Message)
	str := func(key, value string) {
		if value != "" {
			j.Str(key, value)
		}
	}
	if v != Terse {
		str("detail", e.Detail)
		str("hint", e.Hint)
		str("query", e.Query)
		str("context", e.Context)
	}
	str("sqlstate", e.SQLState)
	if id := e.Node.ID(); id >= 0 {
		j.Int("node", id)
	}
	if e.Gen != 0 {
		j.Uint64("gen", e.Gen)
	}
	str("db", either(e.DB, o.DB))
	str("user", either(e.User, o.User))
	str("client", either(e.Client, o.Client))
	str("reason", e.Reason)
	str("app", o.App)
	j.Int("pid", o.PID)
	if loc.file != "" {
		j.Str("location", loc.fn+", "+loc.file+":"+strconv.Itoa(loc.line))
	}
	j.Send()
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// callerLocation finds the first caller outside this package.
func callerLocation() location {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		fr, more := frames.Next()
		if !strings.Contains(fr.Function, "/logging.") || strings.HasSuffix(fr.File, "_test.go") {
			return location{fn: base(fr.Function), file: base(fr.File), line: fr.Line}
		}
		if !more {
			return location{}
		}
	}
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// lineBuffer is the buffer an event is formatted into; zerolog writes to it.
type lineBuffer struct{ b []byte }

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}
