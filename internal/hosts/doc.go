// Package hosts makes small networks of simulated machines for tests: each host is a set of Linux namespaces (network, host name,
// mounts, processes, System V shared memory) with a file tree, a loopback, addresses and ports of its own, joined to the others by
// bridges. Cables can be cut, hosts frozen and switched off.
//
// Every host runs one helper process for its whole life, its process 1. It reaps orphans and stands for the SSH daemon; the
// programs ssh, scp, sudo and logger that lie first in a host's PATH are stand-ins that talk to it over the simulated network, so a
// host that is cut off is as unreachable for them as for everything else. All four write down their calls, see [Host.Calls].
//
// A host's file tree is a tmpfs: programs (/usr, /opt) are the machine's own, read-only; /etc is a copy; /tmp, /run, /var, /home and
// the rest begin empty. Bridges live in a namespace of their own. So nothing of a [World] has a name outside, any number of them may
// exist at once, and the kernel removes everything when this process ends, however it ends.
//
// The helper and the stand-ins are the test's own binary, started again. A package that uses hosts therefore begins its tests with
//
//	func TestMain(m *testing.M) {
//		hosts.RunHelper()
//		os.Exit(m.Run())
//	}
//
// This needs root. What runs on the hosts is left to the caller.
package hosts
