// Package pcp is the administration protocol of the pcp_* programs: codec, server and client.
//
// Doing what is asked is left to [Control].
package pcp
