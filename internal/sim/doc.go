// Package sim runs the watchdogs of a whole cluster in one goroutine: virtual time, simulated networks, disks, clocks and kernels, and
// faults drawn from a seed. After every step a judge looks at what must always hold: one holder of the virtual address, terms that only
// grow, decisions that are neither lost nor contradicted; and, when all faults are over, that the cluster comes together within a bound.
//
// It owns the world around the machine and what is demanded of it. The machine is the shipped one, watchdog/machine; the parts around it
// that have goroutines and sockets (mesh, disk, vip, pulse) are modelled here by what they promise, in their worst case.
//
//   - plan.go: what a seed means: the cluster, its parameters, a list of faults, the last act. A plan can be shrunk (shrink.go)
//   - world.go, queue.go, acts.go: virtual time and the faults
//   - process.go, clock.go, disk.go, wires.go, pulse.go, address.go, office.go: one node and what is around it
//   - judge.go, ending.go: what must hold after every step, and at the end
//   - mutants.go: ways to break the machine on purpose, by which the judge is judged
//
// A run is a function of its plan alone, so that a failing seed can be looked at again. Raft draws its election timeouts from the reader
// of crypto/rand, which is exchanged for the time of a run: runs of one process come one after another.
package sim
