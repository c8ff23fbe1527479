// Package proxy serves the clients: it accepts connections, drives the login, and runs one session per client as a coroutine
// on an event loop. It carries out what the lower ranks decide (auth who may enter, stmt what a statement is, route where it
// goes, vsession what a server connection lacks, pool which connection is used) and turns errors into messages to clients.
//
//	server.go    the parts, listeners, Run        session.go   a session and its main loop
//	admission.go who is served, who waits         query.go     simple queries
//	startup.go   first packets, login             extended.go  Parse, Bind, ... Sync
//	cancel.go    cancel keys and requests         txn.go       BEGIN, COMMIT and friends
//	side.go      buffers of one socket            backend.go   a leased server connection in a session
//	reply.go     what servers answer              release.go   end of a session: reset, back to the pool
//	names.go     catalogue questions              errors.go    errors to client messages
//	showcmd.go   SHOW pool_*, PGPOOL ...          logs.go      what is logged of a session
package proxy
