// Package pcp is the administration protocol of the pcp_* programs (manual: PCP commands): codec, server and client.
//
// It owns the framing, the authentication by pcp.conf, the exact bytes and texts of each reply, and the server's connections. What a
// request does is left to [Control], opening the sockets to the daemon, and what a program prints to the program. The protocol knows
// no encryption and no version; of the two layouts of node information the server sends the one that it is told to.
//
// A connection of the server:
//
//	               M: salt sent                R with the right digest for that salt
//	accepted ----------------------> challenged ------------------------------------> authorized <---+
//	   |  ^                            |  |  ^                                         |   |   |      |
//	   |  |  R, anything else: FATAL   |  |  | M: another salt                         |   |   | request, then its reply;
//	   |  +--- M or R may come again --+  +--+                                         |   |   +------+ ERROR included
//	   |        once authorized too    |                                               |   |
//	   |  authentication_timeout, or   | wrong digest: FATAL                           |   | unknown type, request out of bounds,
//	   |  too many strangers wait      | time is up                                    |   | half a request for too long: FATAL
//	   v                               v                                               v   v
//	closed <-------------------------------------------------------------------- X, end of file, stop of the server
//
// Until it is authorized nothing but M, R and X is looked at. While a command runs, the connection is watched: a client that hangs up
// ends waiting for it, but not what has begun to change the cluster.
package pcp
