// Package web answers health checks and serves metrics over HTTP (http_listen_addresses, http_port). What it tells is decided and measured
// by others: it takes a snapshot of that for each request and keeps nothing but counts of what has changed in the Views.
//
// It is there for load balancers and orchestrators, which ask often, want one number, and must get it while nobody else is served: when
// all places for clients are taken, while the pool is paused, while a loop is held up. So it has goroutines of its own and never waits for
// a loop but in /metrics, and there with a deadline.
//
//	/liveness            the loops turn                        do not restart
//	/readiness           clients are let in                    send clients here
//	/health              a node is up and a primary known      all is well
//	/primary             writes go to a live primary now
//	/replica?lag=1MB     a standby is up, no later than that
//	/read-only           a node is up
//	/leader              this pgpool leads the watchdog cluster and, if there is an address, holds it
//	/nodes, /nodes/N...  the servers, one by one
//	/status              all of it in words, always 200
//	/metrics             for Prometheus
//
// A connection, of which there are at most maxConns:
//
//	accepted --> waits for a request --(headers complete)--> answered --> waits for the next
//	                 | time is over, or it is the one that has waited longest and another one comes
//	                 v
//	               closed
//
// Files: facts.go judges (pure), lag.go reads lag=, body.go words the answer, handler.go finds the question, bound.go and server.go are the
// sockets, families.go lists the metrics, collector.go and its neighbours fill them in.
package web
