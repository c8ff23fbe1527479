// Package health measures: what each server says of its role, how far standbys are behind, whether servers answer at all. It alone
// publishes cluster.Gauges, through one Board.
//
//	probe.go, names.go, answers.go  one login over TCP or a socket file, the addresses behind a name, the questions
//	hearing.go                      what a server asks at the login, and the answer where all we have is a hash
//	trouble.go                      what a failed probe says about its server, pure
//	healthcheck.go, stats.go        the periodic check with retries and statistics (manual: health check)
//	failback.go                     a node that is down and streams again (manual: auto_failback)
//	srcheck.go, delay.go            roles, delay and replication state each period (manual: streaming replication check)
//	search.go, seek.go, upstream.go the search for the primary, and whom a standby streams from
//	ask.go                          the live columns of SHOW pool_nodes
//
// A health check ends in a [Verdict]. What condemns a node: nothing listens at its addresses; the connection breaks off, or the server
// says that it is starting, stopping or damaged, after all retries; or it is silent or cannot be reached at least twice in a row. What
// does not: a name that does not resolve (the last addresses it had are tried), one slow answer, a server that lets nobody in but says
// so (password, database, number of connections), and whatever fails on our side (descriptors, a password that cannot be read).
//
// Each node has a goroutine of its own, every wait a bound, and a probe leaves nothing behind: a frozen server holds up nobody's check
// but its own. While failover is at work the replication check rests and its rounds in flight are dropped; failover asks through
// [Prober.Roles] itself. Only a primary lost while follow_primary_command runs is searched for beside it.
//
// It draws no consequences. Roles and findings are reported to functions its caller gives it, which must not block; what follows is
// failover's.
package health
