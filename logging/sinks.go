package logging

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/lestrrat-go/strftime"
)

// noRotation is how long the writer sleeps at most when no rotation by age is due.
const noRotation = time.Hour

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
	if err := os.MkdirAll(c.Directory, 0o700); err != nil {
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
	lost      int  // writes that failed
	failing   bool // report each kind of trouble once
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

func (s *sinks) untilRotation() time.Duration {
	if s.file == nil {
		return noRotation
	}
	return s.file.untilRotation()
}

// write brings text, which consists of the given records, to all destinations.
func (s *sinks) write(text []byte, records []record) {
	if s.useStream || s.syslog == nil {
		s.writeStream(text)
	} else {
		s.writeRaw(text, records)
	}
	if s.syslog == nil {
		return
	}
	for _, r := range records {
		if r.sev != 0 && !s.syslog.write(text[:r.n], r.sev) {
			s.lost++
		}
		text = text[r.n:]
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

// writeRaw keeps the output of commands on standard error when log lines go to syslog only.
func (s *sinks) writeRaw(text []byte, records []record) {
	for _, r := range records {
		if r.sev == 0 {
			s.writeStream(text[:r.n])
		}
		text = text[r.n:]
	}
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
