package conf

import "time"

func loggingRows() []Param {
	return append(append(logFileRows(), logLevelRows()...), logEventRows()...)
}

func logFileRows() []Param {
	return []Param{
		{
			Name: "log_destination", Type: TypeDestinations, Context: Reload, sep: ',', Default: "stderr",
			Doc: "where the log goes: stderr, syslog or both",
			at:  func(c *Config, _ int) any { return &c.Logging.LogDestination },
		},
		ours(enum("log_format", Start, logFormats(), "text",
			"form of a line of the log on stderr",
			func(c *Config) *LogFormat { return &c.Logging.LogFormat })),
		boolean("logging_collector", Start, "off",
			"write what goes to stderr into files and rotate them",
			func(c *Config) *bool { return &c.Logging.LoggingCollector }),
		text("log_directory", Reload, "/tmp/pgpool_logs",
			"directory of these files, created if it is missing",
			func(c *Config) *string { return &c.Logging.LogDirectory }),
		text("log_filename", Reload, "pgpool-%Y-%m-%d_%H%M%S.log",
			"name of these files, a strftime pattern",
			func(c *Config) *string { return &c.Logging.LogFilename }),
		fileMode("log_file_mode", Reload, maxInt, "0600",
			"permissions of these files, octal with a leading 0",
			func(c *Config) *uint32 { return &c.Logging.LogFileMode }),
		boolean("log_truncate_on_rotation", Reload, "off",
			"start a file of the same name anew when time rotates, else append",
			func(c *Config) *bool { return &c.Logging.LogTruncateOnRotation }),
		within(maxMinutes, duration("log_rotation_age", Reload, "min", 0, "1d",
			"rotate after this time; 0 never does",
			func(c *Config) *time.Duration { return &c.Logging.LogRotationAge })),
		size("log_rotation_size", Reload, "kB", 0, 2097151, "10MB",
			"rotate after this much output; 0 never does",
			func(c *Config) *int64 { return &c.Logging.LogRotationSize }),
		enum("syslog_facility", Reload, syslogFacilities(), "LOCAL0",
			"facility of the messages sent to syslog",
			func(c *Config) *SyslogFacility { return &c.Logging.SyslogFacility }),
		text("syslog_ident", Reload, "pgpool",
			"program name in the messages sent to syslog",
			func(c *Config) *string { return &c.Logging.SyslogIdent }),
	}
}

func logLevelRows() []Param {
	return []Param{
		enum("client_min_messages", Session, levels(), "notice",
			"least level of the messages a client is sent",
			func(c *Config) *Level { return &c.Logging.ClientMinMessages }),
		enum("log_min_messages", Session, levels(), "warning",
			"least level of the messages that are logged",
			func(c *Config) *Level { return &c.Logging.LogMinMessages }),
		enum("log_error_verbosity", Session, verbosities(), "default",
			"how much of a message is logged",
			func(c *Config) *ErrorVerbosity { return &c.Logging.LogErrorVerbosity }),
		text("log_line_prefix", Reload, "%m: %a pid %p: ",
			"put before each line of the log: %a %d %l %m %p %P %t %u %%",
			func(c *Config) *string { return &c.Logging.LogLinePrefix }),
	}
}

func logEventRows() []Param {
	return []Param{
		boolean("log_statement", Session, "off",
			"log each statement",
			func(c *Config) *bool { return &c.Logging.LogStatement }),
		boolean("log_per_node_statement", Session, "off",
			"log each statement once for every node it goes to",
			func(c *Config) *bool { return &c.Logging.LogPerNodeStatement }),
		boolean("notice_per_node_statement", Session, "off",
			"tell the client which nodes each statement goes to",
			func(c *Config) *bool { return &c.Logging.NoticePerNodeStatement }),
		boolean("log_client_messages", Session, "off",
			"log each protocol message of the client",
			func(c *Config) *bool { return &c.Logging.LogClientMessages }),
		enum("log_backend_messages", Session, backendMessages(), "none",
			"log the protocol messages of the servers; terse folds repeats",
			func(c *Config) *BackendMessages { return &c.Logging.LogBackendMessages }),
		boolean("log_connections", Reload, "off",
			"log when a client connects",
			func(c *Config) *bool { return &c.Logging.LogConnections }),
		boolean("log_disconnections", Reload, "off",
			"log when a client leaves, and how long it stayed",
			func(c *Config) *bool { return &c.Logging.LogDisconnections }),
		boolean("log_pcp_processes", Reload, "off",
			"log when a PCP command begins and ends",
			func(c *Config) *bool { return &c.Logging.LogPcpProcesses }),
		boolean("log_hostname", Reload, "off",
			"log clients by host name instead of address",
			func(c *Config) *bool { return &c.Logging.LogHostname }),
	}
}

func fileRows() []Param {
	return []Param{
		path("pid_file_name", Start, "/var/run/pgpool/pgpool.pid",
			"file that holds the process id",
			func(c *Config) *string { return &c.Files.PidFileName }),
		text("work_dir", Start, "/tmp",
			"directory of pgpool_status and other files of the program",
			func(c *Config) *string { return &c.Files.WorkDir }),
	}
}

func ioRows() []Param {
	const kernel = "; 0 leaves it to the kernel"
	return []Param{
		ours(integer("io_loops", Start, 0, 1024, "0",
			"event loops serving sessions; 0 takes half the processors, at least 1",
			func(c *Config) *int { return &c.IO.IoLoops })),
		ours(boolean("tcp_keepalive", Reload, "on",
			"let the kernel find out that a silent client or server is gone",
			func(c *Config) *bool { return &c.IO.TCPKeepalive })),
		ours(duration("tcp_keepidle", Reload, "s", 0, "20s",
			"silence before the first probe"+kernel,
			func(c *Config) *time.Duration { return &c.IO.TCPKeepidle })),
		ours(duration("tcp_keepintvl", Reload, "s", 0, "10s",
			"time between probes"+kernel,
			func(c *Config) *time.Duration { return &c.IO.TCPKeepintvl })),
		ours(integer("tcp_keepcnt", Reload, 0, 127, "3",
			"unanswered probes that end a connection"+kernel,
			func(c *Config) *int { return &c.IO.TCPKeepcnt })),
		ours(duration("tcp_user_timeout", Reload, "ms", 0, "50s",
			"longest time sent data may stay unacknowledged"+kernel,
			func(c *Config) *time.Duration { return &c.IO.TCPUserTimeout })),
	}
}
