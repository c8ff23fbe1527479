// Package replication acts on the database servers for auto_failover: it asks them what a successor is chosen by, promotes, stops and
// starts them, and keeps all others streaming from the primary in force.
//
//	keeper.go, lease.go              Keeper: what it is built from, Run, its round, the agents' leases
//	server.go, sql.go                connections to the servers; the question they are asked
//	history.go                       timelines and where they fork
//	facts.go, diagnose.go            what a round gathers -> findings, each with its reason and its remedy; pure
//	treat.go, remedy.go, tidy.go     remedies, one at a time per node, with growing pauses; slots left over
//	survey.go, promote.go, sync.go, stop.go   what failover has done
//	host.go                          what is done on a server's own host
//
// A node, as Diagnose sees it each second and after each change of the View:
//
//	                 streams on the primary's timeline
//	following <---------------------------------------- connecting
//	    |  down, by no administrator: attach               ^    ^
//	    |                                                  |    | Start
//	    | streams from somebody else, or nobody            |    |
//	    v                                                  |    |
//	  stray ---- WAL not beyond the fork: repoint ---------+    |
//	    |                                                       |
//	    | beyond the fork, or once a primary: Host.Stop         |
//	    v                                                       |
//	 stopped --- as it is, Rewind, or BaseBackup where a rewind cannot
//
// It owns primary_conninfo of the servers, the slots that primary_slot_name names, and synchronous_standby_names at the moment of a
// promotion. It draws no conclusions about who is the primary: failover chooses and publishes. What is done on a server's host is left to
// agent, which fits Host; connection strings are conninfo's; synchronous_standby_names at all other times is syncguard's.
//
// It leaves alone what an administrator has detached, servers of another system identifier, servers promoted by somebody else, and all
// nodes while failover is at work.
package replication
