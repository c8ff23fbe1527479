// Package show words the answers to the statements the proxy answers itself: SHOW pool_nodes and its family, PGPOOL
// SHOW, SET and RESET, and PGPOOL EXPLAIN ROUTE. Each function maps plain input values to a [Result]: columns, rows and
// command tag, in Pgpool-II 4.7's order and formats. It also owns [Counters], the per-node statement counters two of
// those answers are made of.
//
// It does no I/O and keeps no state but the counters. Recognising the statements is left to proxy/stmt, the parameters
// and the text of their values to conf, gathering the inputs and putting a Result on the wire to proxy.
package show
