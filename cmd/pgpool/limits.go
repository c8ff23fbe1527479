package main

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gopgpool/logging"
)

// spareFiles are descriptors wanted beside those of clients and servers: sockets, files, epoll, commands.
const spareFiles = 64

// raiseFileLimit raises the limit of open files to what so many connections need, as far as the system lets it, and warns
// of a shortfall.
func raiseFileLimit(log logging.Logger, connections int) {
	want := uint64(connections) + spareFiles
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil || lim.Cur >= want {
		return
	}
	for _, try := range fileLimits(lim, want) {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &try) == nil {
			lim = try
			break
		}
	}
	if lim.Cur < want {
		log.Log(logging.Event{
			Severity: logging.Warning,
			Message:  fmt.Sprintf("the limit of open files is %d, all connections the configuration allows need %d", lim.Cur, want),
			Hint:     "Raise the limit (ulimit -n, LimitNOFILE of the systemd unit), or lower num_init_children or max_pool.",
		})
	}
}

// fileLimits lists what to try: beyond the hard limit, which takes privileges, else up to it.
func fileLimits(lim unix.Rlimit, want uint64) []unix.Rlimit {
	if want <= lim.Max {
		return []unix.Rlimit{{Cur: want, Max: lim.Max}}
	}
	return []unix.Rlimit{{Cur: want, Max: want}, {Cur: lim.Max, Max: lim.Max}}
}
