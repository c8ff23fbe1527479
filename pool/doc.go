// Package pool owns the connections to the servers that no session is using, and the bound on how many there are. A connection
// is keyed by node, database, user and startup parameters; a released one serves any later session of its key, on any loop.
//
// It also knows how to open a connection: dial, startup, login. Which node is wanted, and whether the client has proved who
// it is, is decided by the caller before it asks. What travels on a leased connection is the session's business.
//
//	          Reserve, Open              Release
//	(nothing) ------------> leased <---------------> idle
//	                          |          Idle          | life time over, node lost, bytes or end of stream seen,
//	                          | Discard                | evicted for another key
//	                          v                        v
//	                        closed                   closed
package pool
