package conf

import "testing"

func TestDefault(t *testing.T) {
	if c := Default(); c == nil || c.Connections.Port != 9999 {
		t.Fatal("no defaults")
	}
}
