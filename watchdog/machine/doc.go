// Package machine is the watchdog as a pure state machine: it owns who is a member, who leads, until when the leader may hold the
// virtual IP, what has been decided, and the states the nodes show. Time, messages, verdicts of the life check and the outcome of
// writes go in; messages, what must be written, the desired state of the address, decisions and log lines come out. It opens no socket,
// file or goroutine, and reads no clock.
//
// Inside is a group of etcd's raft. Around it:
//
//   - founding.go: how nodes with empty disks agree on being one cluster, and how half of an even cluster goes on (half votes)
//
//   - lease.go: until when the address may be held, and from when on it may be raised
//
//   - members.go: nodes that come, leave, are lost or never show up
//
//   - votes.go: failover by consensus
//
//   - state.go: the states administrators see (manual: watchdog status)
//
//     charter chosen, or the leader's snapshot
//     blank ------------------------------------------------> in a group
//     ^   asks the leader for a place: learner, then voter     |  ^
//     |                                                        |  | restart with its disk
//     +---- left out, or its group was overtaken: set aside ---+--+
//
//     elected by Raft              entry in the log         a quorum answers, and no former lease can run
//     follower ------------------> Raft's leader ---------------> in office ------------------------------------> holds the address
//     ^                              | somebody else is preferred:  | lease not renewed, sick, leaves               |
//     +------------------------------+ leadership is transferred ---+-----------------------------------------------+
//
// What the decisions are about is left to failover, moving the address to vip, the wire to mesh, the disk to disk.
package machine
