// Package replication acts on the database servers for auto_failover: it asks them what a successor is chosen by, promotes, stops and
// starts them, and keeps all others streaming from the primary in force.
//
//	keeper.go            Keeper: what it is built from, Run, its round
//	server.go, sql.go    connections to the servers, the questions and statements
//	conninfo.go          primary_conninfo, read and written; pure
//	history.go           timelines and where they fork; pure
//	facts.go             what a round gathers
//	diagnose.go          facts -> findings, each with its reason and its remedy; pure
//	remedy.go            carries remedies out, one at a time per node
//	survey.go, promote.go, stop.go   what failover has done
//	host.go              what is done on a server's own host
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
// It owns primary_conninfo, primary_slot_name's slots and, after a promotion, synchronous_standby_names of the servers. It draws no
// conclusions about who is the primary: failover chooses and publishes. What is done on a server's host is left to agent, which fits
// Host, and what becomes of synchronous_standby_names when a standby is lost later to sync_standby_guard.
//
// It leaves alone what an administrator has detached, servers of another system identifier, servers promoted by somebody else, and all
// nodes while failover is at work.
package replication
