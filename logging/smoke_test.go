package logging

import (
	"bytes"
	"testing"
)

func TestSmoke(t *testing.T) {
	var b bytes.Buffer
	l := To(&b, Debug5)
	l.Log(Event{Severity: Warning, Message: "a\nb", Detail: "d"})
	if got, want := b.String(), "WARNING:  a\n\tb\nDETAIL:  d\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
