package main

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFileLimits(t *testing.T) {
	for _, tt := range []struct {
		lim  unix.Rlimit
		want uint64
		try  []unix.Rlimit
	}{
		{unix.Rlimit{Cur: 1024, Max: 4096}, 2000, []unix.Rlimit{{Cur: 2000, Max: 4096}}},
		{unix.Rlimit{Cur: 1024, Max: 4096}, 4096, []unix.Rlimit{{Cur: 4096, Max: 4096}}},
		{unix.Rlimit{Cur: 1024, Max: 4096}, 5000, []unix.Rlimit{{Cur: 5000, Max: 5000}, {Cur: 4096, Max: 4096}}},
	} {
		if got := fileLimits(tt.lim, tt.want); !slices.Equal(got, tt.try) {
			t.Errorf("%+v, %d: %v", tt.lim, tt.want, got)
		}
	}
}
