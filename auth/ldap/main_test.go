package ldap

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain fails if a connection's goroutines outlive the tests.
func TestMain(m *testing.M) {
	status := m.Run()
	if stacks := leftOver(); stacks != nil {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", stacks)
		status = max(status, 1)
	}
	os.Exit(status)
}

// leftOver returns the stacks of all goroutines if some of the library's do not end.
func leftOver() []byte {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("go-ldap/ldap")) {
			return nil
		}
		select {
		case <-deadline:
			return stacks
		case <-tick.C:
		}
	}
}
