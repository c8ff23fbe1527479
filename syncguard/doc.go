// Package syncguard keeps a cluster writable whose synchronous standby is lost, and makes it synchronous again (sync_standby_guard).
//
// A commit of a server with synchronous_standby_names waits for a standby, for ever if none is there. Every sync_standby_keepalive_time
// the guard asks the primary who streams from it, and opens a connection to each standby that is named. A standby that was lost in
// sync_standby_keepalive_count looks in a row is left out of synchronous_standby_names, once too few are left without it; it is named again
// when it streams and has caught up.
//
//	               lost in every one of Count looks, and the rest are too few
//	named, fit  ------------------------------------------------------------->  remember the setting on the server
//	    ^                                                                       record: not promotable (committed)
//	    |                                                                       ALTER SYSTEM, reload: writes go on
//	    |                                                                              |
//	    |    it is synchronous and has flushed               streams, caught up,       v
//	    +--- all that was written before; record:  <-------  Again looks in a row   left out, unfit
//	         promotable                            names it
//
// # What is lost
//
// A standby counts as lost in a look if it neither answers nor streams. It needs both: one that streams acknowledges what it is sent, so
// nothing waits for it, even if it takes no connection of ours (too many clients, pg_hba.conf, a network between us and it). One that
// answers is alive and about to stream again (its receiver reconnects, it was just repointed); leaving it out would make it unfit for
// nothing. That it goes on so is told in the log. A standby that has flushed nothing since the last look, though the primary
// had written more by then, does not stream, whatever the primary believes: a frozen one is found so long before wal_sender_timeout.
//
// # Why no acknowledged commit is lost
//
// Once the setting is weaker, commits are acknowledged that a standby left out does not have. So it must not be promoted, by nobody, until
// it has them. That is recorded first ([Parts].Bar), and the server is changed only when the record is committed: with a watchdog by a
// quorum of the pgpool nodes. Whoever decides about a failover later has the record before him in the same log. A pgpool that does not lead,
// or that leads without a quorum, cannot commit it and leaves the server alone: on its side of a partition writes go on waiting while the
// other side may promote the standby, and nothing is acknowledged that this one lacks. pg_keeper, which decides on the primary's
// host alone, has this hole.
//
// The way back is the opposite order: name it, wait until commits wait and it is synchronous in fact and has flushed what was written up to
// then, then record that it may be promoted. Whoever chooses by the old setting meanwhile must not take one for sure to have all that
// the new one can do without: where that could be, it is barred before.
//
// Where commits wait for nobody, nobody is sure to have them, so no other standby may be promoted either: the administrator who
// wants them on two servers has one left, and losing that one too is for him to decide about.
//
// Between the record and the change, or if the change fails, a standby is barred that has everything: that is safe, and ends when it
// streams again. What the administrator had set is kept on the server itself (the custom setting [Remembered]), so that whoever acts
// after a restart, another leader or another primary made from a copy of it, knows what to go back to.
//
// # What it leaves to others
//
// Office and consent are failover's, as is the choice of a successor, which obeys what is recorded here. Bringing a lost standby back is
// replication's. Anything the primary does not say (no connection, no rights) is logged, and nothing is changed.
package syncguard
