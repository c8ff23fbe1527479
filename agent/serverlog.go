package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"gopgpool/replication/conninfo"
)

func (s *site) openServerLog() (f *os.File, err error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if s.ServerLog == "" {
		return s.openBeside("server.log", flags)
	}
	err = s.owner.as(func() error {
		f, err = os.OpenFile(s.ServerLog, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		return err
	})
	return f, err
}

// maxWords bounds what is passed on of what a server said that did not start.
const maxWords = 1000

// lastWords is what the server has logged since we launched it. What stands before may be statements of clients.
func (s *site) lastWords() string {
	text, err := s.readEnd(s.serverLog(&s.place), logEnd, s.launchedAt)
	if err != nil {
		return err.Error()
	}
	return lastLines(text, maxWords)
}

// lastLines are so many of the last lines, whole, as most bytes hold; of one that is longer its end.
func lastLines(text []byte, most int) string {
	text = bytes.TrimSpace(text)
	if len(text) <= most {
		return string(text)
	}
	cut := text[len(text)-most:]
	if i := bytes.IndexByte(cut, '\n'); i >= 0 {
		cut = cut[i+1:]
	}
	return string(cut)
}

// serverLog is where a started server's standard error goes.
func (l *Local) serverLog(p *place) string {
	if l.ServerLog != "" {
		return l.ServerLog
	}
	return p.besides("server.log")
}

// readEnd reads the last bytes of a plain file behind from, as the owner, never through a link at its end.
func (p *place) readEnd(path string, most, from int64) (text []byte, err error) {
	err = p.owner.as(func() error {
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no plain file", path)
		}
		text = make([]byte, min(max(info.Size()-from, 0), most))
		n, err := f.ReadAt(text, info.Size()-int64(len(text)))
		text = text[:n]
		return err
	})
	return text, err
}

const (
	// logEnd is how much of a log is looked at: a minute of a server that turns somebody away each second.
	logEnd = 16 << 10
	// maxSays bounds what is passed on of it.
	maxSays = 500
)

// says is why a server that is starting does not accept connections yet, as far as its log and we know.
func (l *Local) says(p *place) string {
	var text string
	for _, path := range []string{p.collected(), l.serverLog(p)} {
		if text != "" || path == "" {
			continue
		}
		if end, err := p.readEnd(path, logEnd, 0); err == nil {
			text = tellingLine(end)
		}
	}
	if lacks := l.lacks.Load(); lacks != nil && *lacks != "" {
		return strings.TrimPrefix(text+"; "+*lacks, "; ")
	}
	return text
}

// collected is the file that the server's logging collector writes to; "" where there is none.
func (p *place) collected() string {
	text, err := p.readOwned("current_logfiles")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "stderr "); ok && filepath.IsAbs(path) {
			return path
		} else if ok {
			return filepath.Join(p.data, path)
		}
	}
	return ""
}

// tellingLine finds the last entry of a log that tells why a server is not up yet: an error of its own since its last start, else how far it
// is. What it answers to those who connect is none, and no statement can be in what is chosen.
func tellingLine(end []byte) string {
	if i := bytes.LastIndex(end, []byte("starting PostgreSQL ")); i >= 0 {
		end = end[i:]
	}
	var failure, progress, entry string
	take := func() {
		if text, ok := failureIn(entry); ok {
			failure = text
		} else if text, ok := progressIn(entry); ok {
			progress = text
		}
	}
	for line := range bytes.Lines(end) {
		if bytes.HasPrefix(line, []byte("\t")) { // goes on
			entry += string(line)
			continue
		}
		take()
		entry = string(line)
	}
	take()
	if failure == "" {
		failure = progress
	}
	return tidy(failure)
}

// message cuts an entry behind what log_line_prefix has put before it: its severity, and the rest.
func message(entry string) (severity, text string) {
	before, rest, _ := strings.Cut(entry, ":  ")
	for _, severity := range []string{"PANIC", "FATAL", "WARNING", "LOG"} {
		if strings.HasSuffix(before, severity) {
			return severity, rest
		}
	}
	if rest, ok := strings.CutPrefix(entry, "WARNING: "); ok { // libpq's own
		return "WARNING", rest
	}
	return "", ""
}

// failureIn is an entry's error.
func failureIn(entry string) (string, bool) {
	severity, text := message(entry)
	ok := severity != "" && severity != "LOG" && !strings.HasPrefix(text, "the database system is ")
	return severity + ": " + text, ok
}

// progressIn is an entry about how far a start is.
func progressIn(entry string) (string, bool) {
	severity, text := message(entry)
	for _, what := range []string{
		"redo ", "waiting for WAL", "entering standby mode", "started streaming", "restored log file", "syncing data directory",
		"database system was", "starting backup recovery", "starting archive recovery", "starting point-in-time recovery",
	} {
		if severity == "LOG" && strings.HasPrefix(text, what) {
			return severity + ": " + text, true
		}
	}
	return "", false
}

// tidy makes one line of what a server says, fit for any log.
func tidy(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxSays {
		text = strings.ToValidUTF8(text[:maxSays], "") + "..."
	}
	return text
}

// missing notes which files the standby's connection names that are not on this host: libpq passes over some of them without a word.
func (s *site) missing(info *conninfo.Info) {
	var all []string
	for _, key := range info.Files() {
		path := info.Get(key)
		err := s.owner.as(func() error {
			_, err := os.Stat(path)
			return err
		})
		var why *os.PathError
		if errors.As(err, &why) {
			all = append(all, fmt.Sprintf("%s %q of its primary_conninfo: %v", key, path, why.Err))
		}
	}
	text := tidy(strings.Join(all, ", "))
	s.lacks.Store(&text)
}
