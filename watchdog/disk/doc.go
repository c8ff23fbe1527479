// Package disk keeps what a node of the watchdog must not forget: the log of the consensus, its hard state, the last snapshot, and a few
// bytes of its owner's (who this node is, which cluster it belongs to). Everything lies in one file of wd_state_directory, watchdog.db,
// written in transactions that are on the disk when Save returns. A power loss at any moment leaves what was acknowledged.
//
// It owns the directory (who may read it, that it survives a reboot, that no second daemon uses it), the file's format with a checksum
// per record, and the files set aside when a node gives up its history.
//
// It leaves to others: what the bytes mean, when to take a snapshot, and what a node does that cannot write.
//
// A file that cannot be believed is an error that names it. It is never repaired: a node that forgot a vote could give it twice.
// Who moves the file away makes the node join as one that was never there before.
package disk
