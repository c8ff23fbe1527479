package logging

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lestrrat-go/strftime"
)

// noRotation is how long the writer sleeps at most when no rotation by age is due.
const noRotation = time.Hour

// directoryMode is that of a log_directory we create.
const directoryMode = 0o700

// sinkPlan is the checked part of Config about destinations.
type sinkPlan struct {
	Config
	pattern *strftime.Strftime
}

func planSinks(c Config) (sinkPlan, error) {
	p := sinkPlan{Config: c}
	if c.Syslog && (c.SyslogFacility < 0 || c.SyslogFacility > 7) {
		return p, fmt.Errorf("syslog_facility: LOCAL%d is not one of LOCAL0 to LOCAL7", c.SyslogFacility)
	}
	if !c.Collector || !c.Stderr {
		return p, nil
	}
	var err error
	if p.pattern, err = strftime.New(c.Filename); err != nil {
		return p, fmt.Errorf("log_filename %q: %w", c.Filename, err)
	}
	if err := os.MkdirAll(c.Directory, directoryMode); err != nil {
		return p, fmt.Errorf("could not create log directory %q: %w", c.Directory, err)
	}
	if p.Directory, err = filepath.Abs(c.Directory); err != nil {
		return p, fmt.Errorf("log_directory %q: %w", c.Directory, err)
	}
	return p, nil
}

// sinks are the open destinations. Output.sinkMu guards them.
type sinks struct {
	now    func() time.Time
	report func(Event)

	stream    io.Writer // standard error
	useStream bool
	file      *collector
	syslog    *syslogSink
	unsent    int  // messages syslog did not take
	failing   bool // trouble with files was reported
}

// apply moves to the destinations of p.
func (s *sinks) apply(p sinkPlan) {
	s.stream, s.useStream = p.Writer, p.Stderr
	if s.stream == nil {
		s.stream = os.Stderr
	}
	s.applySyslog(p)
	s.applyCollector(p)
}

func (s *sinks) applySyslog(p sinkPlan) {
	if s.syslog != nil {
		s.syslog.close()
		s.syslog = nil
	}
	if p.Syslog {
		s.syslog = newSyslogSink(p.Config, s.now)
	}
}

func (s *sinks) applyCollector(p sinkPlan) {
	if p.pattern == nil {
		if s.file != nil {
			s.file.close()
			s.file = nil
		}
		return
	}
	if s.file == nil {
		s.file = &collector{now: s.now}
	}
	s.reportFile(s.file.apply(p))
}

func (s *sinks) rotate() error {
	if s.file == nil {
		return ErrNoCollector
	}
	return s.file.rotate(rotateAsked)
}

func (s *sinks) rotateOnTime() time.Duration {
	if s.file == nil {
		return noRotation
	}
	s.reportFile(s.file.rotateIfDue())
	return s.file.untilRotation()
}

// write brings text, which consists of the given records, to all destinations.
func (s *sinks) write(text []byte, records []record) {
	if s.useStream {
		s.writeStream(text)
	}
	if s.syslog == nil {
		return
	}
	for _, r := range records {
		s.writeSyslog(text[:r.n], r.sev)
		text = text[r.n:]
	}
}

// writeSyslog sends one record. What syslog does not take, and the output of commands, goes to standard error at least.
func (s *sinks) writeSyslog(text []byte, sev Severity) {
	sent := sev != 0 && s.syslog.write(text, sev)
	if !sent && !s.useStream {
		s.writeStream(text)
	}
	switch {
	case sev == 0:
	case !sent:
		s.unsent++
		if s.unsent == 1 {
			s.report(Event{Severity: Warning, Message: "could not send log messages to syslog at " + strconv.Quote(s.syslog.socket)})
		}
	case s.unsent > 0:
		n := s.unsent
		s.unsent = 0
		s.report(Event{Severity: Warning, Message: strconv.Itoa(n) + " log messages could not be sent to syslog"})
	}
}

// writeStream writes to the collector's file, or to standard error if there is none or it fails.
func (s *sinks) writeStream(text []byte) {
	if s.file == nil {
		_, _ = s.stream.Write(text) // nowhere left to report it
		return
	}
	rotated, err := s.file.write(text)
	if err != nil {
		_, _ = s.stream.Write(text)
		s.reportFile(err)
		return
	}
	if rotated != nil {
		s.reportFile(rotated)
		return
	}
	s.failing = false
}

// reportFile reports trouble with the collector's file, once until a write went well.
func (s *sinks) reportFile(err error) {
	if err == nil || s.failing {
		return
	}
	s.failing = true
	s.report(Event{Severity: Warning, Message: err.Error(), Hint: "Log lines go on to the last file that could be opened, or to standard error."})
}

func (s *sinks) close() {
	if s.file != nil {
		s.file.close()
		s.file = nil
	}
	if s.syslog != nil {
		s.syslog.close()
		s.syslog = nil
	}
	s.useStream = true
}
