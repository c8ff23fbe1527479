// Command wd_cli asks the watchdog of a pgpool on this machine about the nodes, and reports to it what an external life check found
// (manual: wd_cli).
//
// It owns the options, what is printed and the exit status, which scripts read: they are those of Pgpool-II's program of this name. What
// goes over the socket is left to watchdog/ipc, which makes it work with Pgpool-II's server too.
package main
