package proxy

import (
	"strings"
	"testing"
)

// A record about a name holds for every spelling that servers take for it.
func TestCutName(t *testing.T) {
	longest := strings.Repeat("x", 63)
	for name, want := range map[string]string{"": "", "app": "app", longest: longest, longest + "y": longest} {
		if got := cutName(name); got != want {
			t.Errorf("%q becomes %q", name, got)
		}
	}
}
