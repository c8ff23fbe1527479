// Package wdtest puts whole watchdogs to the test: several pgpools on simulated hosts with a virtual address between them, a real server
// and a client, as administrators set them up (a walk through two nodes, the commands and scripts of the manual's examples), and then all
// the harm that hosts and networks do. What the client felt and who held the address is watched throughout (package vipwatch).
//
// It holds no code but its tests. A few of them run with all other tests; "make wd" runs all and writes docs/watchdog/results.md, "make
// soak" does random harm for half an hour. See wd.mk.
package wdtest
