// Command ha kills database servers under load and judges what clients felt. It is what "make ha" runs.
//
// It starts a primary, two standbys and a pgpool in front of them, lets writing, reading and idle clients work, and does harm: the loss
// of the primary and of a standby many times over, asynchronous and synchronous, and a matrix of other faults once each. Each client
// notes what it sent, when, and what came of it; afterwards judges read these notes, the rows on the servers, the logs of the
// servers and that of pgpool:
//
//   - figures.go: the outage, the longest gap between acknowledged writes, and where the time went;
//   - judge.go: errors are for statements in flight alone and say so properly; nobody is cut while idle, or hangs;
//   - rows.go: no acknowledged row is lost and none is there twice;
//   - outcomes.go: no answer to a COMMIT that was in flight is wrong;
//   - waits.go: nobody waits too long for a planned switchover;
//   - witness.go: two nodes never accept writes at one time, and no statement runs on a connection that was opened before the failover
//     that condemned its node.
//
// Where a script promotes, the harness repairs what was lost. Where pgpool promotes by itself (unaided.go) it repairs nothing.
//
// The judges are pure and are themselves tested with doctored notes and logs, for a judge that cannot find anything proves nothing.
//
// Everything it starts is gone when it ends, after an interrupt too. As root it works in namespaces of its own, for the faults that
// mount a small disk or cut the network. It leaves the building of pgpool to its caller, and servers to pgcluster.
package main
