// Package pulse sends and receives the heartbeats of the watchdog: small UDP packets by which pgpool nodes learn that the others
// live (manual: Watchdog, life checking with the heartbeat).
//
// It owns the packets and their authentication, the sockets with their devices, the resolving of host names, and which packet
// counts as a sign of life. It leaves to others: how long silence may last, and what follows from it.
//
// What counts (contact.go). Each start of a node has a random run id, and each packet echoes what was last heard from the node it
// goes to: its run id and sequence number. A packet counts only if it echoes our present run id and is newer than all before. So
// nothing recorded earlier counts, neither after a restart of ours nor after one of the other node; and a first contact takes a packet
// each way, which is answered at once. The clocks of the nodes do not matter.
//
// With a key everything in a packet is authenticated, and bound to sender and destination. Without one anybody can send
// heartbeats in the name of any node.
package pulse
