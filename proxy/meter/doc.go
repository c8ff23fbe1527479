// Package meter holds what the proxy counts while it serves, for those who show it.
//
// Each event loop has counters of its own, which only that loop writes: plain numbers, no atomics, nothing allocated once a node, a code
// or an error class has been seen. Who wants to read them has the loop itself make a copy and adds the copies up.
//
//	session on its loop -> Loop.Answered, Routed, ... (plain additions)
//	                          |
//	         posted function: Loop.Clone on the loop -> Reading, added up by the proxy -> web
//
// It knows no names: what the numbers of reasons and pins mean is told by the Reading. When to count is the proxy's, how it is told the
// web's.
package meter
