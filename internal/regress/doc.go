// Command regress runs PostgreSQL's own regression and isolation suites twice, straight against a server and through pgpool,
// and compares what the tests printed file by file. Clients cannot tell pgpool from a server as far as these suites look: what
// differs nevertheless is written down in explained/, with its reason, and anything else fails the run.
//
// It owns the servers and pgpools it starts (internal/pgcluster builds them) and the copies of the suites it runs in; the script
// sources fetches the suites. What the tests do and whether their output is right is left to PostgreSQL: its expected files judge
// the direct run alone.
package main
