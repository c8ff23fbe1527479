// Package stmt turns SQL text into [Facts]. It owns the only look at SQL text in the proxy: a lexer reduces a statement to
// its shape (literals replaced), facts are computed once per shape from PostgreSQL's own grammar, and cached.
//
// Where a statement goes is left to proxy/route; whether a named relation is a catalog or a temporary table, or a
// function is volatile, to proxy/relcache. The package is pure: no I/O, no clock; its cache is the only state.
package stmt
