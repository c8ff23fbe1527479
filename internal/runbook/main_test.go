package runbook

import (
	"os"
	"testing"

	"gopgpool/internal/hosts"
)

func TestMain(m *testing.M) {
	hosts.RunHelper()
	os.Exit(m.Run())
}
