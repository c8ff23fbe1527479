// Package site furnishes simulated hosts (package hosts) for tests that play what an administrator does: PostgreSQL servers, pgpools that
// are started, stopped, killed and frozen, psql and the pcp programs on any host, waiting for what a log says, and the logs of it all
// when a test has failed. [NewCluster] puts up the whole of a watchdog: several pgpools with a virtual address between them, a server
// and a client.
//
// It knows no scenario: what happens, and what is expected, is left to the tests that use it. What [hosts.RunHelper] asks of a package
// goes for its users too.
package site
