// Package leak has no code but tests: many sessions through our pgpool that leave behind whatever a session can leave on a server
// (settings, prepared statements, LISTEN, advisory locks, temporary tables, held cursors, sequences, roles, the seed of random(), and
// all of this from inside functions) and end in every way: most by vanishing, in the middle of a transaction, of a statement, of a
// batch or of a message.
//
// Each session begins by looking at everything it can see, which must be what a fresh connection sees, goes on with what it does,
// asks now and then whether its own state is still there, and ends. It is drawn from two numbers, the seed of the run and its own. When
// all are gone, no server connection may be lost or in a transaction, nothing of theirs may be left on the servers, and memory, threads and
// descriptors of pgpool must be what they were.
//
//	LEAK_SESSIONS=10000 LEAK_SEED=7 go test -count=1 -v -timeout 1h ./internal/leak
//
// The same seed gives the same sessions, not the same interleaving. LEAK_ONLY runs the one session of that number, several times.
package leak
