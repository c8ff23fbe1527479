package agent

import (
	"testing"
	"time"
)

func TestStartContact(t *testing.T) {
	t.Parallel()
	const now, lease = time.Hour, 10 * time.Second
	for _, tc := range []struct {
		name  string
		last  time.Duration
		known bool
		want  time.Duration
	}{
		{"first start", 0, false, now},
		{"just now", now - time.Second, true, now - time.Second},
		{"long ago", now - time.Minute, true, now - lease + startGrace},
		{"almost over", now - lease + time.Second, true, now - lease + startGrace},
		{"from the future", now + 1, true, now},
	} {
		if got := startContact(tc.last, tc.known, now, lease); got != tc.want {
			t.Errorf("%s: %v, not %v", tc.name, got, tc.want)
		}
	}
	if got := startContact(0, true, now, time.Second); got != now {
		t.Error("a short lease", got)
	}
}

func TestParseContact(t *testing.T) {
	t.Parallel()
	boot := []byte("b00t\n")
	if at, known := parseContact(contactText(boot, 90*time.Second), boot); at != 90*time.Second || !known {
		t.Error(at, known)
	}
	for _, text := range []string{"", "b00t", "b00t 90", contactText([]byte("another"), 1), "b00t 0000000000000000000x\n", "b00t -0000000000000000001\n"} {
		if _, known := parseContact(text, boot); known {
			t.Errorf("%q", text)
		}
	}
}
