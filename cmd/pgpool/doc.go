// Command pgpool is the daemon, and the program that stops it or has it read its files again.
//
// It owns the command line, the pid file, detaching from the terminal, signals and exit codes (manual: "pgpool", "Starting
// Pgpool-II", "Stopping Pgpool-II", "Reloading"), and in build.go how the parts are made and joined. All work is done by
// the parts.
package main
