// Package listen brings notifications to sessions that hold no server connection: LISTEN and NOTIFY in transaction mode.
//
// [Changes] is what one session has asked for, pure, with PostgreSQL's rules for transactions and savepoints. [Hub] keeps one
// server connection per database and encoding (Key), on which LISTEN is said once for all sessions that want a channel, and
// puts what arrives into the [Inbox] of each of them, in the order of the server, which is the order of the commits.
//
// A listener connection, of which the hub has none for a database where nobody listens:
//
//	             first Listen
//	(nothing) ----------------> waiting <-------------------------------------+
//	    ^                        |   ^ no node takes writes, or              |
//	    |  nobody listens        |   | the pause after a failure             |
//	    +------------------------+   |                                       |
//	    |                        |   |                                       |
//	    |     a node takes writes|   |                                       |
//	    |                        v   |                                       |
//	    |                     opening ----- refused, unreachable ------------+
//	    |                        |                                           |
//	    |                        | all channels in one batch                 |
//	    |                        v                                           | connection lost, no answer in time,
//	    |                    listening --------------------------------------+ another node or epoch takes writes
//	    |                      |   ^                                         |
//	    |   the last one leaves|   | Listen                                  |
//	    |                      v   |                                         |
//	    +--- grace over --- lingering ---------------------------------------+
//
// The node is always the one that takes writes, for only there LISTEN is allowed and only there notifications arise. Between the
// loss of a connection and the next state listening there is a gap: what is notified meanwhile is missed and nobody is told, as
// with every client of PostgreSQL that loses its connection; the log has a line at both ends of the gap. A session that is
// waiting in Hub.Listen at that time is answered by the next connection.
//
// The way to open a connection is a subscriber's, since only sessions know credentials; any subscriber's will do, for
// PostgreSQL has no privileges on channels.
//
// Left to the session: which statements are LISTEN and UNLISTEN and whether they succeeded, when to write what its Inbox holds
// (between messages, outside a transaction), and opening a connection (Subscriber).
package listen
