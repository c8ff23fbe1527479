package show

import (
	"sync"
	"testing"
	"unsafe"

	"gopgpool/cluster"
	"gopgpool/proxy/stmt"
)

func TestCounters(t *testing.T) {
	c := NewCounters(3)
	var wg sync.WaitGroup
	const each = 1000
	for loop := range 6 {
		wg.Go(func() {
			s := c.Shard(loop)
			for range each {
				s.Statement(0, stmt.CountSelect)
				s.Statement(1, stmt.CountInsert)
				s.Statement(1, stmt.CountUpdate)
				s.Statement(1, stmt.CountDelete)
				s.Statement(1, stmt.CountDDL)
				s.Statement(1, stmt.CountOther)
				for _, severity := range []string{"ERROR", "FATAL", "PANIC", "WARNING", ""} {
					s.Failure(cluster.MaxNodes-1, severity)
				}
			}
		})
	}
	wg.Wait()
	const n = 6 * each
	got := c.Snapshot(cluster.MaxNodes + 5)
	if len(got) != cluster.MaxNodes {
		t.Fatalf("%d nodes", len(got))
	}
	for id, want := range map[int]BackendStat{
		0:                    {Select: n},
		1:                    {Insert: n, Update: n, Delete: n, DDL: n, Other: n},
		2:                    {},
		cluster.MaxNodes - 1: {Error: n, Fatal: n, Panic: n},
	} {
		if got[id] != want {
			t.Errorf("node %d: %+v, want %+v", id, got[id], want)
		}
	}
	if len(c.Snapshot(-1)) != 0 {
		t.Error("a snapshot of no nodes has some")
	}
}

func TestShardsShareNoCacheLine(t *testing.T) {
	if size := unsafe.Sizeof(Shard{}); size%cacheLine != 0 {
		t.Errorf("a shard has %d bytes", size)
	}
}

func BenchmarkStatement(b *testing.B) {
	s := NewCounters(1).Shard(0)
	b.ReportAllocs()
	for b.Loop() {
		s.Statement(3, stmt.CountSelect)
	}
}
