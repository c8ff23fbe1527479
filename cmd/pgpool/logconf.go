package main

import (
	"io/fs"
	"os"
	"runtime/debug"

	"gopgpool/conf"
	"gopgpool/logging"
)

// logConfig converts the parameters of logging. -d lets debug1 through, at the start and after every reload.
func logConfig(c *conf.Logging, verbose bool) logging.Config {
	l := logging.Config{
		MinMessages:        logging.Severity(c.LogMinMessages), // both have PostgreSQL's numbers
		Verbosity:          logging.Verbosity(c.LogErrorVerbosity),
		LinePrefix:         c.LogLinePrefix,
		Stderr:             c.LogDestination.Stderr,
		Syslog:             c.LogDestination.Syslog,
		SyslogFacility:     int(c.SyslogFacility),
		SyslogIdent:        c.SyslogIdent,
		Collector:          c.LoggingCollector,
		Directory:          c.LogDirectory,
		Filename:           c.LogFilename,
		FileMode:           fs.FileMode(c.LogFileMode) & fs.ModePerm,
		TruncateOnRotation: c.LogTruncateOnRotation,
		RotationAge:        c.LogRotationAge,
		RotationSize:       c.LogRotationSize,
		OnFile:             crashOutput,
	}
	if c.LogFormat == conf.LogJSON {
		l.Format = logging.JSON
	}
	if verbose && !logging.Debug1.LoggedAt(l.MinMessages) {
		l.MinMessages = logging.Debug1
	}
	return l
}

// crashOutput has the traceback of a crash go to the log file, too: a detached daemon has no other place for it.
func crashOutput(f *os.File) {
	_ = debug.SetCrashOutput(f, debug.CrashOptions{}) // without it the traceback goes to standard error alone
}
