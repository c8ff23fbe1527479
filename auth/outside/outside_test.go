package outside

import (
	"errors"
	"strings"
	"testing"
)

func TestError(t *testing.T) {
	cause := errors.New("line one\nline two\x1b[0m \xff")
	err := New(Refused, "no", cause)
	if got := err.Error(); got != "no: line one line two [0m \ufffd" || !errors.Is(err, cause) {
		t.Errorf("%q", got)
	}
	if got := New(Unavailable, "away", nil).Error(); got != "away" {
		t.Errorf("%q", got)
	}
	if got := Printable(strings.Repeat("x", 1000)); len(got) != 303 || !strings.HasSuffix(got, "x...") {
		t.Errorf("%d bytes", len(got))
	}
}
