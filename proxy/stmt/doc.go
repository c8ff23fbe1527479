// Package stmt turns SQL text into [Facts]. It owns the only look at SQL text in the proxy: a lexer reduces a statement to
// its shape (literals replaced), facts are computed once per shape from PostgreSQL's own grammar, and cached.
//
// Where a statement goes is left to proxy/route; whether a named relation is a catalog or a temporary table, or a
// function is volatile, to proxy/relcache. The package is pure: no I/O, no clock; its cache is the only state.
//
// Each loop has an [Analyzer]; all share one [Cache]. [Analyzer.Analyze] of a known shape takes a few hundred nanoseconds and
// allocates nothing. For a new one, a loop that must not stop calls [Analyzer.Lookup] and runs [Analyzer.Parse] elsewhere.
//
// The grammar is shown the shape, not the text, so facts cannot depend on what the shape leaves out. Where a fact is a
// literal (SET work_mem = 64, set_config, pg_terminate_backend), the literals stay in the shape. Texts are read as a
// server with standard_conforming_strings on reads them; one that ends a string elsewhere with it off goes to the primary
// and is said to touch the session, as are texts the grammar does not know or, being too long or too deep, must not see.
package stmt
