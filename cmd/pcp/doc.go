// Command pcp is the pcp_* programs (manual: PCP commands): the name it is called by, a link, tells which. Called by its own name it
// takes that of a program, with or without pcp_, as its first argument.
//
// It owns the options, what is printed and the exit status, all of which scripts read: an answer of the server that is an error goes to
// stderr and is exit status 0, unless --strict is given. The protocol is left to package pcp.
package main
