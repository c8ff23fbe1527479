package hosts

import (
	"errors"
	"os"
	"testing"
)

// RequireEnv names the environment variable that turns a test that cannot have hosts from a skipped one into a failed one.
const RequireEnv = "GOPGPOOL_REQUIRE_HOSTS"

// StartTest makes a World for one test, which closes it. Without the rights for it the test is skipped, or fails if [RequireEnv] is set.
func StartTest(tb testing.TB, opts Options) *World {
	tb.Helper()
	w, err := New(tb.Context(), opts)
	if errors.Is(err, ErrUnavailable) && os.Getenv(RequireEnv) == "" {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}
