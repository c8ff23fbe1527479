package web

import (
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
)

func TestParseLag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text  string
		bytes cluster.LSN
		time  time.Duration
	}{
		{"0", 0, 0},
		{"1048576", 1 << 20, 0},
		{"16kB", 16 << 10, 0},
		{"16KB", 16 << 10, 0},
		{"1MB", 1 << 20, 0},
		{"1.5MB", 3 << 19, 0},
		{"1 MB", 1 << 20, 0},
		{"2gb", 2 << 30, 0},
		{"1TB", 1 << 40, 0},
		{"12B", 12, 0},
		{"500ms", 0, 500 * time.Millisecond},
		{"5s", 0, 5 * time.Second},
		{"0.5s", 0, 500 * time.Millisecond},
		{"1min", 0, time.Minute},
		{"1h", 0, time.Hour},
	} {
		byTime := strings.ContainsAny(c.text, "sh") || strings.HasSuffix(c.text, "min")
		if got, err := ParseLag(c.text); err != nil || got != (Lag{Bytes: c.bytes, Time: c.time, Asked: true, ByTime: byTime}) {
			t.Errorf("%s: %+v, %v", c.text, got, err)
		}
	}
	for _, text := range []string{
		"", "MB", "-1", "+1", "1 m", "1e9", "0x10", "NaN", "1..2", "1kBs", "1m", "99999999999999999999", "9999999TB", "9999999999h",
		strings.Repeat("1", maxLagText+1), "1\x00", "5\xff",
	} {
		if got, err := ParseLag(text); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}

func FuzzParseLag(f *testing.F) {
	for _, s := range []string{"1MB", "5s", "1.5 kB", "", "9999999999999999999999TB", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if l, err := ParseLag(s); err == nil && (l.Time < 0 || l.Bytes > 1<<62 || !l.Asked) {
			t.Errorf("%q is taken as %+v", s, l)
		}
	})
}
