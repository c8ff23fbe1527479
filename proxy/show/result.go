package show

import (
	"strconv"
	"time"
)

// TypeOID is the type of every column of a Result: text. Pgpool-II announces 0; drivers cope better with a real type.
const TypeOID = 25

// Result is one answer. Values are never NULL: what is missing is an empty string. A Result without columns is a bare
// command tag.
type Result struct {
	Columns []string
	Rows    [][]string
	Tag     string
	// Notice, if not empty, is sent to the client as a NOTICE before the tag.
	Notice string
}

// table makes the Result of a query, with the tag a SELECT of as many rows would have.
func table(columns []string, rows [][]string) Result {
	return Result{Columns: columns, Rows: rows, Tag: "SELECT " + strconv.Itoa(len(rows))}
}

// clock formats a time as these answers do: the server's local time, and nothing for a time that never was.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// countdown words the time left until something happens as M:SS, never less than nothing.
func countdown(left time.Duration) string {
	s := int64(max(left, 0) / time.Second)
	sec := strconv.FormatInt(s%60, 10)
	if len(sec) == 1 {
		sec = "0" + sec
	}
	return strconv.FormatInt(s/60, 10) + ":" + sec
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// oneOrZero is the 1 or 0 of pool_pools.
func oneOrZero(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
