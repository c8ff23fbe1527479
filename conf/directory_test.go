package conf

import "testing"

func TestDirectory(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		set   string
		there []string
		want  string
	}{
		{"/set", []string{"/etc/pgpool2"}, "/set"},
		{"", []string{"/etc/pgpool2", "/etc/pgpool-II"}, "/etc/pgpool2"},
		{"", []string{"/etc/pgpool-II"}, "/etc/pgpool-II"},
		{"", nil, "/usr/local/etc"},
	} {
		exists := func(path string) bool {
			for _, p := range tt.there {
				if p == path {
					return true
				}
			}
			return false
		}
		if got := directory(tt.set, exists); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
