// Package runbook plays what an administrator of Debian's Pgpool-II does, once with that pgpool and once with ours, and compares: the
// package's sample configuration and sample scripts as they come, its pcp programs, and the same steps from the first standby to the
// stop. What the programs print and return, how the scripts are called, what the log says that administrators look for and what SHOW
// pool_nodes shows has to agree, but for the differences that the test names.
//
// It holds no code but its tests. The scenario of package scenario goes further, with scripts of ours and without Pgpool-II.
package runbook
