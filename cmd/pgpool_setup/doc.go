// Command pgpool_setup makes a cluster to try things on, in the empty current directory: PostgreSQL servers dataN, a pgpool
// with its files in etc/, and the scripts startall, shutdownall and pgpool_reload. Options, layout, ports and the names of the
// files are those of Pgpool-II's program of this name, because people script against them; no ssh is needed.
//
// It is not for production. Building and running servers is left to internal/pgcluster.
package main
