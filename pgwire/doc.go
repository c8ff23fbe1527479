// Package pgwire is the shape of PostgreSQL's messages (protocol 3): frames, the startup packet and its negotiation, cancel
// keys, and the few messages the proxy writes or reads itself. Frames nobody acts on are forwarded raw by the caller.
//
// It sees bytes, never connections, and knows nothing of SQL. Message bodies are encoded and decoded with
// github.com/jackc/pgx/v5/pgproto3 used as a codec; the startup packet is read here, since that codec knows only two versions.
package pgwire
