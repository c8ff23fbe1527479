// Package scenario plays the documented example of a cluster of three servers from beginning to end, as an operator does: real servers
// and a real pgpool on simulated hosts (package hosts), the sample scripts, psql and the pcp programs. Its tests read as the operator's
// steps; what he would see is what they expect.
//
// It holds no code but its tests. What single parts do in odd cases is left to those parts' own tests.
package scenario
