package wdha

import (
	"os"
	"testing"

	"gopgpool/internal/hosts"
)

func TestMain(m *testing.M) {
	hosts.RunHelper()
	os.Exit(m.Run())
}

// fullEnv has all cases run; resultsEnv names the file for the table of results; seedEnv and roundsEnv are about random harm.
const (
	fullEnv    = "GOPGPOOL_WDHA"
	resultsEnv = "GOPGPOOL_WDHA_RESULTS"
	seedEnv    = "WDHA_SEED"
	roundsEnv  = "WDHA_ROUNDS"
)

// long leaves a test to make wdha.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv(fullEnv) == "" {
		t.Skip("left to make wdha")
	}
}
