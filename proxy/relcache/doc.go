// Package relcache answers what routing wants to know about the relations and functions a statement names: does a system
// catalog have this name, is the table unlogged or temporary, is some function of this name volatile. Answers are kept
// per database, shared by all loops, and expire; those about temporary tables belong to one session and are never shared.
//
// It owns the answers and the text of the query that fetches the missing ones, one query for a whole statement. It leaves
// to the session to send that query on the client's own server connection and to bring back the rows, and to route what
// follows from an answer.
//
// Answers do not depend on search_path, which differs between sessions and which functions may change unseen: a name
// without schema is looked for in every schema, and one bad candidate counts. The price is that a table goes to the
// primary when its namesake in another schema is unlogged.
//
// See the Pgpool-II manual on relcache_expire, relcache_size, check_temp_table and check_unlogged_table.
package relcache
