package logging

import "strings"

// Severity is PostgreSQL's level of a message. The numbers are those SHOW pool_status prints for client_min_messages and
// log_min_messages. Compare severities with LoggedAt and SentAt only: the log and the client know different orders.
type Severity int8

// The severities. FrontendError is an error that only the client is meant to see; it ranks as Error.
const (
	Debug5 Severity = iota + 10
	Debug4
	Debug3
	Debug2
	Debug1
	Log
	serverOnly // PostgreSQL's LOG_SERVER_ONLY keeps its number
	Info
	Notice
	Warning
	Error
	Fatal
	Panic
	FrontendError
)

// String is the level name that stands in a log line.
func (s Severity) String() string {
	switch s {
	case Debug5, Debug4, Debug3, Debug2, Debug1:
		return "DEBUG"
	case Log, serverOnly:
		return "LOG"
	case Info:
		return "INFO"
	case Notice:
		return "NOTICE"
	case Warning:
		return "WARNING"
	case Error:
		return "ERROR"
	case Fatal:
		return "FATAL"
	case Panic:
		return "PANIC"
	case FrontendError:
		return "FRONTEND_ERROR"
	}
	return "LOG"
}

var settingNames = [...]string{
	Debug5: "debug5", Debug4: "debug4", Debug3: "debug3", Debug2: "debug2", Debug1: "debug1",
	Log: "log", Info: "info", Notice: "notice", Warning: "warning", Error: "error", Fatal: "fatal", Panic: "panic",
}

// Setting is the word for s in log_min_messages and client_min_messages; "" if s is no such level.
func (s Severity) Setting() string {
	if s < 0 || int(s) >= len(settingNames) {
		return ""
	}
	return settingNames[s]
}

// ParseSeverity reads a value of log_min_messages or client_min_messages, in any case; "debug" means debug2.
func ParseSeverity(name string) (Severity, bool) {
	name = strings.ToLower(name)
	if name == "debug" {
		return Debug2, true
	}
	for s, n := range settingNames {
		if n != "" && n == name {
			return Severity(s), true
		}
	}
	return 0, false
}

// rank orders severities for log_min_messages: LOG stands between ERROR and FATAL. An unset severity counts as LOG.
func (s Severity) rank() int32 {
	switch s {
	case 0, Log, serverOnly:
		return 2*int32(Error) + 1
	case FrontendError:
		return 2 * int32(Error)
	default:
		return 2 * int32(s)
	}
}

// LoggedAt reports whether log_min_messages = minimum lets s into the log.
func (s Severity) LoggedAt(minimum Severity) bool { return s.rank() >= minimum.rank() }

// SentAt reports whether client_min_messages = minimum lets s pass to the client. INFO always passes. That nothing below
// ERROR is sent before the session is set up is the caller's rule.
func (s Severity) SentAt(minimum Severity) bool {
	if s == FrontendError {
		s = Error
	}
	return s == Info || s >= minimum
}

// Verbosity is log_error_verbosity.
type Verbosity int8

// The verbosities, with the numbers SHOW pool_status prints.
const (
	Terse          Verbosity = iota // the message line only
	DefaultVerbose                  // with DETAIL, HINT, QUERY and CONTEXT
	Verbose                         // and with LOCATION
)
