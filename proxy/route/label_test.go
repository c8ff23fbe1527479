package route

import (
	"regexp"
	"testing"
)

// Every reason can be told apart in metrics.
func TestReasonsHaveLabels(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z][a-z_]*[a-z]$`)
	seen := make(map[string]ReasonCode)
	for c := ReasonNone + 1; c <= ReasonProxy; c++ {
		l := c.Label()
		if !form.MatchString(l) {
			t.Errorf("reason %d, %q, has the label %q", c, Reason{Code: c}, l)
		}
		if other, taken := seen[l]; taken {
			t.Errorf("reasons %d and %d share the label %q", other, c, l)
		}
		seen[l] = c
	}
	if got := ReasonNone.Label() + (ReasonProxy + 1).Label(); got != "" {
		t.Errorf("no reason has the label %q", got)
	}
}
