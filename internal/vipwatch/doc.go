// Package vipwatch observes a virtual IP address from outside while tests do harm to those who hold it: a client that pings it and runs
// SELECT 1 through it all the time, a look at the addresses of every host every 20 ms and at each change, and a sniffer that asks the
// network who has it and notes who answers. What they saw is a [Record], whose methods judge it and are pure.
//
// A [Watch] needs simulated hosts (package hosts). Faults, and what is expected of them, are left to the tests.
package vipwatch
