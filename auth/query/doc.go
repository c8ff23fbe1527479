// Package query asks the servers about users: their passwords by auth_query, so that pool_passwd need not repeat them, and the roles
// they are members of, for +group and samerole in pool_hba.conf (manual: auth_query).
//
//	asker.go     Asker: the two questions, and the way over the nodes until one answers
//	node.go      which nodes may be asked, in which order; pure
//	answer.go    what the rows of auth_query mean; pure
//	places.go    the connections: how many, kept idle how long, closed when their node is lost
//	connect.go   opening one connection, and one question on it
//	error.go     why there is no answer
//
// Each login is a question of its own and no answer is remembered: a role that was dropped, has expired or got another password counts
// from the next login on. Questions go to the primary; while it cannot be asked, to the other live nodes in order, whose answer may be
// as old as their replication lag. A connection that breaks, or whose node is lost in the middle of a question, is replaced and the
// question put again.
//
// The connections do not count against the limits of the pool: there are up to 2 per database and 32 in all, each closed when nobody
// has used it for a minute. Their search_path is pg_catalog, whatever the database or the role says, because the owner of the client's
// database could otherwise put a table of his in the place of the one the query means.
//
// It leaves to its callers: which source of passwords comes first, what the client reads (a [NoEntry] must look to it like a wrong
// password; it may be logged), and the choice of the accounts.
package query
