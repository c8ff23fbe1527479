// Package failover decides about the backend nodes and is the only one to publish the decision: which nodes are up, who is
// primary. decide.go holds the pure decisions (View and Request in, Plan out), coordinator.go the one goroutine that carries
// plans out, status.go the status file through which a decision outlives the process (manual: pgpool_status).
//
//	request (roles seen, node used, backends reloaded) -> Decide -> Plan -> status file, cluster.Store, log
//
// The states of a node, as far as they change here (waiting and up are alike for routing):
//
//	(start) --no status file, garbled line--> waiting --first use--> up
//	        --line "up"---------------------> up
//	        --line "down"-------------------> down
//	        --line "unused", no line--------> unused
//	(reload) --new backend------------------> down
//
// It does no probing: what the servers say of themselves comes from health through the inbox. Ending the sessions of a node
// that went is left to pool and proxy, which watch the Store.
package failover
