// Package mesh carries messages between the pgpool nodes of a watchdog cluster over TCP.
//
// It owns the connections (both nodes of a pair connect to each other, either connection serves), who is let in (manual:
// Watchdog, wd_authkey and the rules by which a node is added), the frames and their authentication, and the moment a peer
// is no longer heard. Its log lines are those administrators know from the watchdog's connections.
//
// It leaves to others: what the messages say, which node leads, what a lost connection means, and heartbeats.
//
// Delivery is at most once. Between two nodes messages keep their order as long as the connection that carries them lives. When it is
// lost, what was under way is lost with it or comes late; what is sent next takes the other connection or a new one.
//
// With a key nobody without it is heard: each connection starts with a mutual challenge over everything both sides said, and
// every frame then carries a sequence number and a MAC under a key of that connection and direction. Nothing is encrypted unless
// Config.TLS is set. Without a key anybody who can connect can speak for any node.
package mesh
