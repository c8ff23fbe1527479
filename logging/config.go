package logging

import (
	"io"
	"io/fs"
	"os"
	"time"
)

// Format is log_format.
type Format uint8

// The formats.
const (
	Text Format = iota // shaped by log_line_prefix
	JSON               // one JSON object per event
)

// Config holds the logging parameters of pgpool.conf, converted by the daemon.
type Config struct {
	MinMessages Severity  // log_min_messages
	Verbosity   Verbosity // log_error_verbosity
	LinePrefix  string    // log_line_prefix
	Format      Format    // log_format

	Stderr bool // log_destination has stderr
	Syslog bool // log_destination has syslog

	SyslogFacility int    // syslog_facility: N of LOCALN, 0 to 7
	SyslogIdent    string // syslog_ident
	SyslogSocket   string // "" is /dev/log

	Collector          bool          // logging_collector
	Directory          string        // log_directory
	Filename           string        // log_filename, a strftime pattern
	FileMode           fs.FileMode   // log_file_mode; the owner can always write
	TruncateOnRotation bool          // log_truncate_on_rotation
	RotationAge        time.Duration // log_rotation_age, 0 never
	RotationSize       int64         // log_rotation_size in bytes, 0 never

	// Writer takes the place of standard error if set. It is used by one goroutine at a time.
	Writer io.Writer

	// OnFile, if set, is told of every file the collector opens, before the first line goes there (for
	// debug.SetCrashOutput). It must not log.
	OnFile func(*os.File)
}

// Default is the configuration that holds until pgpool.conf has been read: the built-in defaults.
func Default() Config {
	return Config{
		MinMessages: Warning,
		Verbosity:   DefaultVerbose,
		LinePrefix:  "%m: %a pid %p: ",
		Stderr:      true,
		SyslogIdent: "pgpool",
		Directory:   "/tmp/pgpool_logs",
		Filename:    "pgpool-%Y-%m-%d_%H%M%S.log",
		FileMode:    0o600, RotationAge: 24 * time.Hour, RotationSize: 10240 << 10,
	}
}
