package main

import "testing"

func TestQuietness(t *testing.T) {
	var q quietness
	steps := []struct {
		name    string
		gcs     uint32
		mallocs uint64
		want    bool
	}{
		{"start: busy", 1, 50000, false},
		{"busy still", 1, 90000, false},
		{"calm, and much was allocated", 1, 90100, true},
		{"calm, collected already", 2, 90200, false},
		{"calm, little was allocated", 2, 95000, false},
		{"collected by the runtime meanwhile", 3, 101000, false},
		{"calm again", 3, 101500, true},
	}
	for _, s := range steps {
		if got := q.look(s.gcs, s.mallocs); got != s.want {
			t.Fatalf("%s: collect = %v, want %v", s.name, got, s.want)
		}
		if s.want {
			q.collected(s.gcs+1, s.mallocs)
		}
	}
}
