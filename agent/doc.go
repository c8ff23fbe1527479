// Package agent carries out what cannot be done by SQL on a database server's own host: start, stop, state, promotion, making it a standby,
// rewind, base backup. When something is to be done, and by whom a lost primary is followed, is left to failover and replication.
//
//	local.go, turn.go, term.go   Local: one action at a time, terms that are obeyed
//	place.go, programs.go        the owner of the data directory, in whose name everything is done; PostgreSQL's programs, never a shell
//	process.go, postmaster.go    which processes are the server's; its postmaster.pid and postmaster.opts
//	start.go, stop.go, standby.go, rewind.go, basebackup.go    the actions
//	settle.go                    how a copy takes the place of the data directory, and goes on doing so after an interruption
//	server.go, remote.go         the same actions for others: Server is the program's mode "pgpool agent", Remote its client
//	handshake.go, order.go, credentials.go, door.go    the wire: keys, sealed frames, eight orders, who waits at the door
//	lease.go                     Guard: a primary without contact to the cluster is stopped (agent_fencing)
//
// A data directory:
//
//	            BaseBackup: complete beside, then exchanged
//	   +------------------------------------------------------------+
//	   |                                                            v
//	stopped --Start--> at work          stopped --Standby-->   stopped, a standby at its next start
//	   ^                  |                |                        ^
//	   +-----Stop---------+                |Rewind, after a dry run |
//	                                       v                        |
//	                                    marked: neither one --------+
//	                                    nor the other; never started, BaseBackup alone leads out if Rewind is interrupted
//
// It owns the files in the directory beside the data directory (its name and ".pgpool"), and postgresql.auto.conf, standby.signal and a stale
// postmaster.pid in the data directory itself. Database servers it has started outlive it; every other child ends with it.
package agent
