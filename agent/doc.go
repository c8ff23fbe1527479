// Package agent carries out what cannot be done by SQL on a database server's own host: start, stop, status, rewind, base backup,
// promotion. It owns the fixed actions (Local), and the authenticated way to have them done elsewhere (Server, Client), which is the
// program's mode "pgpool agent". When something is to be done is left to failover and replication.
package agent
