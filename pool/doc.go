// Package pool owns the connections to the servers that no session is using, the bounds on how many there are, and the queues of those who
// wait for one. A connection is keyed by node, database, user and startup parameters; the connections of one key and those who wait for
// them are a [Place]. A connection given back serves any later session of its key, on any loop.
//
// A lease is for a session (Idle, or Reserve and Open, ended by Release of a connection that was reset) or for a transaction (Lease, and
// Open where that yields a place; ended by Return of a connection whose state is recorded in Conn.State). Both obey the same bounds and
// stand in the same queues.
//
//	           Lease, Reserve           Open, Login             Return, Release
//	(nothing) ----------------> place -------------> leased <-----------------> idle
//	             Unreserve <------+                  ^    |    Lease, Idle       | life time over, node lost, bytes or end
//	                                                 +----+ to the first         | of stream seen, evicted for another place,
//	                                                   |    who waits            | Hold, Reconnect
//	                                                   | Discard                 v
//	                                                   v                       closed
//	                                                 closed
//
// Whose turn it is decides turn.go, pure; settle.go gathers the claims, and carries out what was decided after the mutex is free. After each
// change everything that can be granted has been: nobody waits for what is there. On the loop of a connection a lease, its return and the
// hand-over to a waiter of the same loop cost no allocation and no system call.
//
// It also knows how to open a connection: dial, startup, login. Which node is wanted, and whether the client has proved who
// it is, is decided by the caller before it asks. What travels on a leased connection is the session's business.
package pool
