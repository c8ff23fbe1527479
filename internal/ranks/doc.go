// Package ranks holds no code: its tests keep the architecture. A package imports lower ranks only, internal packages serve tests,
// every package says what it owns, and the rank table of docs/architecture.md is the one of the test.
package ranks
