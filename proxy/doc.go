// Package proxy serves the clients: it accepts connections, drives the login, and runs one session per client as a coroutine
// on an event loop. It carries out what the lower ranks decide (auth who may enter, stmt what a statement is, route where it
// goes, vsession what a server connection lacks, pool which connection is used) and turns errors into messages to clients.
//
//	server.go    the parts, accepting, Run         session.go   a session and its main loop
//	admission.go who is served, who waits          client.go    the client's messages
//	startup.go   first packets, login              query.go     simple queries, deciding where
//	cancel.go    cancel keys and requests          extended.go  Parse, Bind, Describe, Execute, Close
//	side.go      buffers of one socket             batch.go     Sync, Flush, order of answers
//	backend.go   a leased server connection        prepared.go  prepared statements and who has them
//	reply.go     what servers answer               effects.go   what a statement does to the session
//	txn.go       BEGIN, COMMIT and friends         local.go     what the proxy answers itself, extended
//	names.go     catalogue questions               showcmd.go   SHOW pool_*, PGPOOL ...
//	release.go   end of a session: reset           errors.go    errors to client messages
//	logs.go      what is logged of a session       params.go    settings that servers report
//	lease.go     connections for a transaction     pins.go      what keeps a session on one, probes
//	listening.go LISTEN without a connection       signal.go    pg_cancel_backend of a session of ours
//	spares.go    connections without a session     ops.go       PAUSE, RESUME, RECONNECT, KILL; pauses.go; switchover.go
//	statements*.go names of prepared statements    timeouts.go  time limits; clientlimits.go
//	outcome.go   what became of a COMMIT, decided  committing.go a COMMIT whose server is lost
//	hold.go      what cannot be sent now waits     held.go      how many may, and their turn; turnstile.go
//	drain.go     a switchover drains the primary   stock.go     what a View leaves of connections; fence.go
//	rerun.go     reads that were lost
//
// A message's way: message (client.go) -> query or parse, bind, ... -> decide (route) -> backendFor (pool) -> bringUp (vsession)
// -> the server; its answers: fromServer -> relay -> reply -> concluded (effects.go) folds them into the session.
//
// A connection that sessions share (pool_mode = transaction), as one session sees it. What goes back is not reset but recorded; whoever
// leases it next sends the difference. Only the end of a session that is pinned resets it (reset_query_list), or closes it.
//
//	     asleep for long: checked first
//	idle -------------------------------> leased <---- next message ----+
//	 ^    Lease, with the first statement   |                           |
//	 |                                      | ReadyForQuery, 'I'        |
//	 |                                      v                           |
//	 +--- put back <---- nothing left ---- over ---- told by texts ---> pinned
//	         ^                              |                           ^ |
//	         |                     DO, a function, ...                  | | may have ended
//	         |                              v                           | v
//	         +------- nothing found ----- probing ------- found --------+-+
//
// From everywhere it is closed when its server or node is lost, when it answers what makes no sense, or when RECONNECT marked it.
package proxy
