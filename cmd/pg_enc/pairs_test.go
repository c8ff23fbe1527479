package main

import (
	"strings"
	"testing"
)

func FuzzParsePairs(f *testing.F) {
	f.Add("u1:p1\n\nnocolon\nu2:\r\nu3:a:b\n:x\n")
	f.Add(strings.Repeat("a", 129) + ":x\nu:" + strings.Repeat("b", maxPassword+1))
	f.Fuzz(func(t *testing.T, text string) {
		for n, p := range parsePairs(text) {
			if p.line != n+1 {
				t.Fatalf("line %d is told as %d", n+1, p.line)
			}
			if p.problem != pairFine {
				continue
			}
			if p.password == "" || len(p.password) > maxPassword || len(p.username) > maxUsername ||
				strings.ContainsAny(p.username+p.password, "\n\x00") || strings.Contains(p.username, ":") {
				t.Fatalf("%+v is a pair", p)
			}
		}
	})
}
