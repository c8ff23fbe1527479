// Package route decides where a statement runs, and says why. [Decide] maps what is known of the statement (facts of
// its text, answers about the names in it), of the session ([State]), of the cluster (View, Gauges) and of the
// configuration ([Policy]) to a [Decision] with a typed [Reason]. It follows the Pgpool-II manual's sections on load
// balancing and on statements that must run on the primary.
//
// Everything here is pure: no socket, clock, lock, logger or dice. The random number of a choice is an argument, and
// questions about the catalogue are answered before (see [NeedsNames]). On the warm path nothing is allocated.
//
// Some transactions have a node of their own: a read-only one runs on a standby as a whole, a REPEATABLE READ one reads where
// its snapshot was taken. The session tells where each statement was really sent ([State.Placed]).
//
// It leaves to others: what the text says (proxy/stmt), the answers about names (proxy/relcache), sending anything,
// and which settings, prepared statements and open transactions a server connection still lacks (proxy, proxy/vsession).
// Statements are sent lazily: a Decision names the node that runs the statement, and says with Both whether the other
// nodes the session uses have to follow before they are used again.
package route
