// Command drivers is the driver matrix (`make drivers`): the checklist of every database driver below clients/, run directly
// against the primary and through pgpool in several settings, and compared line by line.
//
// A client of the matrix is a program of its own, in the driver's language. It takes the connection from PGHOST, PGPORT, PGUSER,
// PGPASSWORD and PGDATABASE, has an empty database to itself, runs the checks named by its arguments (all without), and prints for
// each a line `check ok|failed|n/a detail`. The detail has nothing that differs from run to run: it is compared as well.
//
// Command drivers owns servers, databases, neighbours (other sessions of the same pool that leave state behind, neighbour.go), the
// judgement (compare.go), the list of explained differences (explained.txt) and the table in docs/drivers.md. Building the clients is
// the task of the script prepare.
package main
