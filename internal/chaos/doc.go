// Package chaos has no code but tests: a real cluster of three servers behind our pgpool, to which a random schedule of faults and of
// administrators' acts is done at once, while clients of many kinds keep a ledger of what they sent and what they were told.
//
// A round is drawn from one number, its seed: the schedule and what the clients do. It goes on in four parts: harm; repair of the
// servers, as an operator would do it; pgpool must serve again within a bound and show what the servers say; judgement. The judges
// (ledger_test.go) hold the ledger against the rows of every server that was ever seen:
//
//   - what was refused, above all with "has had no effect", is on no server;
//   - what was acknowledged is there once, unless the server that acknowledged it was lost with it: each row knows its server,
//     timeline and place in the log, and what lies behind the point where the next timeline left may be missing;
//   - units (transactions, strings of several statements) are there whole or not at all;
//   - writes are never acknowledged by two servers in turns;
//   - every statement is answered, and errors are ErrorResponses of their own: no XX000, no bare end of the connection.
//
// A failed round prints its seed and schedule. CHAOS_SEED is the first seed, CHAOS_ROUNDS the number of rounds (default one):
//
//	CHAOS_SEED=7 CHAOS_ROUNDS=20 go test -race -v -timeout 1h ./internal/chaos
//
// The same seed gives the same schedule, not the same interleaving. Single faults, one at a time and with figures, are command ha's.
package chaos
