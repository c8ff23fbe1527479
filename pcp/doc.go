// Package pcp is the administration protocol of the pcp_* programs (manual: PCP commands): codec, server and client.
//
// It owns the framing, the authentication by pcp.conf, the exact bytes and texts of each reply, and the server's connections. What a
// request does is left to [Control], opening the sockets to the daemon, and what a program prints to the program. The protocol knows
// no encryption and no version; of the two layouts of node information the server sends the one that it is told to.
//
// A connection of the server:
//
//	accepted --M--> challenged --R that fits--> authorized --request--> busy
//	    |            |  ^  |                      |    ^                  |
//	    |            +-M+  |                      |    +--reply or ERROR--+
//	    v                  v                      v                       v
//	 closed             closed                 closed                  closed
//
//	accepted    nothing but M, R and X is looked at: R without a salt, and any other request, is FATAL. It ends by X, with
//	            authentication_timeout, or as the oldest of too many strangers.
//	challenged  a salt serves one R; one that does not fit is FATAL. Else as accepted.
//	authorized  it may stay idle for as long as it likes. It ends by X, an unknown request (FATAL), or half a request that stays so
//	            for too long. M and R begin anew.
//	busy        a command runs; the next request waits in the socket. A client that hangs up ends waiting for clients to leave and for
//	            servers to answer, but not what has begun to change the cluster. It ends by a FATAL refusal.
//
// Everywhere a request of impossible length is FATAL, and a stop of the server closes without a word.
package pcp
