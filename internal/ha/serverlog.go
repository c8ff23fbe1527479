package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// logPrefix is the servers' log_line_prefix: time, process, session, transaction, application.
const logPrefix = "%m|%p|%c|%x|%a|"

// logSettings have a server log when a session begins, when a statement arrives and when it has succeeded.
func logSettings() map[string]string {
	return map[string]string{
		"log_line_prefix": logPrefix, "log_connections": "on", "log_disconnections": "on",
		"log_statement": "all", "log_duration": "on", "log_min_messages": "error", "log_min_error_statement": "panic",
	}
}

// serverTime is how %m is printed; the servers' log_timezone is UTC.
const serverTime = "2006-01-02 15:04:05.000 MST"

// statement is one statement of a session that went through pgpool, as a server's log tells it.
type statement struct {
	Node    int
	Reign   int       // of the node: how many promotions it had had when the statement arrived
	Session string    // %c
	Opened  time.Time // when the session began
	Began   time.Time // when the statement arrived
	Ended   time.Time // zero unless it succeeded
	App     string
	Write   bool
	Client  int // of a write, with Seq the name of its row
	Seq     int // of its client, -1 where the text does not tell
}

// accepted tells of a write that the server carried out.
func (s statement) accepted() bool { return s.Write && !s.Ended.IsZero() }

func (s statement) String() string {
	what := "statement"
	if s.Write {
		what = fmt.Sprintf("row %d/%d", s.Client, s.Seq)
	}
	text := fmt.Sprintf("%s of %s on node %d (session %s since %s) from %s", what, s.App, s.Node, s.Session, clock(s.Opened), clock(s.Began))
	if !s.Ended.IsZero() {
		text += " to " + clock(s.Ended)
	}
	return text
}

// serverLog is what matters of a server's log.
type serverLog struct {
	Node       int
	Statements []statement // through pgpool, in order of arrival
	Promotions []time.Time // a new timeline was chosen
	Ready      []time.Time // connections were accepted, after a start and after a promotion
	Panics     []time.Time
}

// lineOf is a line of the log, taken apart.
type lineOf struct {
	at                 time.Time
	session, app, text string
}

// logReader folds lines into a serverLog.
type logReader struct {
	log    serverLog
	opened map[string]time.Time // by session
	open   map[string]int       // by session: the statement at work, an index of Statements
}

// readServerLog reads the log of a node. What comes before the first line of our form, and lines that continue others, are passed over.
func readServerLog(r io.Reader, node int) (serverLog, error) {
	reader := logReader{log: serverLog{Node: node}, opened: map[string]time.Time{}, open: map[string]int{}}
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		text, err := lines.ReadString('\n')
		if line, ok := splitLine(strings.TrimSuffix(text, "\n")); ok {
			reader.fold(line)
		}
		if errors.Is(err, io.EOF) {
			return reader.log, nil
		}
		if err != nil {
			return reader.log, err
		}
	}
}

func splitLine(text string) (lineOf, bool) {
	parts := strings.SplitN(text, "|", 6)
	if len(parts) != 6 {
		return lineOf{}, false
	}
	at, err := time.Parse(serverTime, parts[0])
	if err != nil {
		return lineOf{}, false
	}
	return lineOf{at: at, session: parts[2], app: parts[4], text: parts[5]}, true
}

func (r *logReader) fold(l lineOf) {
	level, text, ok := strings.Cut(l.text, ":  ")
	if !ok {
		return
	}
	switch level {
	case "LOG":
		r.foldLog(l, text)
	case "DETAIL":
		r.foldParameters(l, text)
	case "PANIC":
		r.log.Panics = append(r.log.Panics, l.at)
		delete(r.open, l.session)
	case "ERROR", "FATAL":
		delete(r.open, l.session)
	}
}

func (r *logReader) foldLog(l lineOf, text string) {
	switch {
	case strings.HasPrefix(text, "connection received:"):
		r.opened[l.session] = l.at
	case strings.HasPrefix(text, "disconnection:"):
		delete(r.opened, l.session)
		delete(r.open, l.session)
	case strings.HasPrefix(text, "selected new timeline ID:"):
		r.log.Promotions = append(r.log.Promotions, l.at)
	case strings.HasPrefix(text, "database system is ready to accept connections"):
		r.log.Ready = append(r.log.Ready, l.at)
	case strings.HasPrefix(text, "duration: "):
		if i, ok := r.open[l.session]; ok {
			r.log.Statements[i].Ended = l.at
			delete(r.open, l.session)
		}
	case strings.HasPrefix(text, "statement: "):
		r.arrived(l, strings.TrimPrefix(text, "statement: "))
	case strings.HasPrefix(text, "execute "):
		if _, sql, ok := strings.Cut(text, ": "); ok {
			r.arrived(l, sql)
		}
	}
}

// arrived notes a statement that came through pgpool.
func (r *logReader) arrived(l lineOf, sql string) {
	if !strings.HasPrefix(l.app, appPrefix) {
		return
	}
	s := statement{
		Node: r.log.Node, Reign: len(r.log.Promotions), Session: l.session, Opened: r.opened[l.session], Began: l.at, App: l.app, Seq: -1,
	}
	if rest, ok := strings.CutPrefix(sql, reads); ok {
		number, _, _ := strings.Cut(rest, " ")
		if seq, err := strconv.Atoi(number); err == nil {
			s.Seq = seq
		}
	}
	if rest, ok := strings.CutPrefix(sql, writes+" (client, seq) VALUES ("); ok {
		s.Write = true
		s.Client, s.Seq = rowName(strings.TrimSuffix(rest, ")"), ", ")
	}
	r.open[l.session] = len(r.log.Statements)
	r.log.Statements = append(r.log.Statements, s)
}

// foldParameters completes a write whose values were parameters: $1 = '3', $2 = '4'.
func (r *logReader) foldParameters(l lineOf, text string) {
	i, ok := r.open[l.session]
	if !ok || !r.log.Statements[i].Write {
		return
	}
	rest, ok := strings.CutPrefix(text, "parameters: $1 = '")
	if !ok {
		return
	}
	s := &r.log.Statements[i]
	s.Client, s.Seq = rowName(strings.TrimSuffix(rest, "'"), "', $2 = '")
}

// rowName reads two numbers; -1, -1 where they are not there.
func rowName(text, between string) (client, seq int) {
	a, b, ok := strings.Cut(text, between)
	client, err1 := strconv.Atoi(a)
	seq, err2 := strconv.Atoi(b)
	if !ok || err1 != nil || err2 != nil {
		return -1, -1
	}
	return client, seq
}
