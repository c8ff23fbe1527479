package stmt

import "testing"

var benchTexts = []struct{ name, text string }{
	{"select", "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;"},
	{"update", "UPDATE pgbench_accounts SET abalance = abalance + -4211 WHERE aid = 12345;"},
	{"insert", "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (7, 1, 12345, -4211, CURRENT_TIMESTAMP);"},
	{"begin", "BEGIN;"},
	{"prepared", "SELECT abalance FROM pgbench_accounts WHERE aid = $1;"},
	{"string", "SELECT id, name FROM customers WHERE email = 'somebody@example.org' AND active"},
	{"set", "SET work_mem = '64MB'"},
}

func BenchmarkAnalyzeWarm(b *testing.B) {
	for _, bt := range benchTexts {
		b.Run(bt.name, func(b *testing.B) {
			a := NewAnalyzer(NewCache(Limits{}))
			text := []byte(bt.text)
			a.Analyze(text)
			b.ReportAllocs()
			for b.Loop() {
				a.Analyze(text)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, bt := range benchTexts {
		b.Run(bt.name, func(b *testing.B) {
			var sc scratch
			s := reduce([]byte(bt.text), &sc)
			b.ReportAllocs()
			for b.Loop() {
				parseFacts(s.sql(), s.flags)
			}
		})
	}
}
