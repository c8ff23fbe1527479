// Package fakepg is a scripted PostgreSQL server for tests: a world of statements and their answers, not a list of expected
// calls. It lets every client in without a proof, speaks the simple and the extended protocol, follows transactions and settings
// as far as its table of answers says so, and records per connection what it received.
//
// Told to misbehave ([Fault]), it breaks the protocol or the connection at any [Moment] of its life: that is what it is for.
// Its honest behaviour is compared with a real server by this package's own test.
//
// What the answers are, and what a proxy should make of them, is left to the tests that use it.
package fakepg
