// Package logging turns events into log lines and brings them to their destinations.
//
// It owns the severities and their two orders, the layout of a line (log_line_prefix, DETAIL and HINT lines, JSON), the
// exact texts of the lines administrators match on (events.go), and the sinks: standard error, syslog, and the files of
// the logging collector with their rotation. It follows the manual's sections "Error Reporting and Logging".
//
// It leaves to others: when to log (the owner of an event calls once, after asking Enabled), reading the parameters (the
// daemon converts its configuration to Config), and messages to clients.
//
// There is no global logger. The daemon makes one Output, and hands out Logger values; the zero Logger discards.
package logging
