// Command watchdog_setup makes a group of pgpools to try things on, in the empty current directory: pgpool0 with PostgreSQL servers,
// pgpool1 and so on beside it in front of the same servers, all watching each other, and the scripts startall and shutdownall (manual:
// watchdog_setup). Options, layout, ports and the names of the files are those of Pgpool-II's program of this name.
//
// It is not for production. Each pgpool is made by the program pgpool_setup; what is left to do here is the watchdog.
package main
