// Package conf turns pgpool.conf into typed values: one table of all parameters (name, type, unit, range, default, when a
// change takes effect), a lexer for the file format, the cross-checks, and from the same table what PGPOOL SHOW, SHOW
// pool_status, PGPOOL SET, the sample file and docs/parameters.md say. [Config] is one section struct per part of the
// daemon; it is built once, never changed, and an invalid setting cannot be represented in it. [Live] holds the one in force.
//
// It leaves to others what a value causes, and the other files: pool_hba.conf, pool_passwd, pcp.conf. A part receives its
// own section, never the whole.
package conf

//go:generate go run gen.go
