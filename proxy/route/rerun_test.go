package route

import (
	"testing"

	"gopgpool/proxy/stmt"
)

// TestRerunnable: what may be run twice is what only reads, as far as its text tells.
func TestRerunnable(t *testing.T) {
	a := stmt.NewAnalyzer(stmt.NewCache(stmt.Limits{}))
	for sql, want := range map[string]bool{
		"SELECT 1":                                              true,
		"SELECT * FROM t WHERE a = f(1)":                        true, // the catalogue tells what f is
		"WITH x AS (SELECT 1) SELECT * FROM x":                  true,
		"VALUES (1), (2)":                                       true,
		"TABLE t":                                               true,
		"SHOW work_mem":                                         true,
		"SELECT * FROM t FOR UPDATE":                            false,
		"SELECT * FROM t FOR KEY SHARE":                         false,
		"SELECT * INTO x FROM t":                                false,
		"SELECT txid_current()":                                 false,
		"SELECT pg_catalog.pg_current_xact_id()":                false,
		"SELECT set_config('a.b', '1', false)":                  false,
		"SELECT pg_terminate_backend(1)":                        false,
		"WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x": false,
		"SELECT 1; SELECT 2":                                    false,
		"INSERT INTO t VALUES (1)":                              false,
		"EXPLAIN SELECT 1":                                      false,
		"EXPLAIN ANALYZE DELETE FROM t":                         false,
		"BEGIN":                                                 false,
		"NOTIFY c":                                              false,
		"LISTEN c":                                              false,
		"FETCH c":                                               false,
		"CALL p()":                                              false,
		"COPY t TO STDOUT":                                      false,
		"SET a.b TO 1":                                          false,
		"":                                                      false,
		"what is this":                                          false,
	} {
		if got := Rerunnable(a.Analyze([]byte(sql))); got != want {
			t.Errorf("%s: %v", sql, got)
		}
	}
	if Rerunnable(nil) {
		t.Error("nothing at all")
	}
}

// TestInnocent: any doubt about a name is enough.
func TestInnocent(t *testing.T) {
	a := stmt.NewAnalyzer(stmt.NewCache(stmt.Limits{}))
	f := a.Analyze([]byte("SELECT f(a) FROM t"))
	for _, c := range []struct {
		names Names
		want  bool
	}{
		{Names{}, true},
		{Names{Catalog: 1, Unlogged: 1, Missing: 1, Parent: 1}, true},
		{Names{Volatile: 1}, false},
		{Names{Calls: 1}, false},
		{Names{Unknown: true}, false},
	} {
		if got := Innocent(f, &c.names); got != c.want {
			t.Errorf("%+v: %v", c.names, got)
		}
	}
	if !Innocent(a.Analyze([]byte("SELECT 1")), &Names{Unknown: true}) {
		t.Error("a statement without names")
	}
}
