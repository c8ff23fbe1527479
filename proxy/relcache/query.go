package relcache

import (
	"fmt"
	"strconv"
	"strings"

	"gopgpool/proxy/stmt"
)

// kind is the kind of a name.
type kind uint8

const (
	relation kind = iota
	function
)

// question is one name the catalogue is asked about, and its answer.
type question struct {
	kind     kind
	name     stmt.Name
	answer   answer
	temp     bool
	answered bool
}

const maxNameBytes = 256

// askable reports whether a name can be put into a query without a doubt about how the server will read it. In some client
// encodings a backslash is the second half of a character, so it must not meet bytes beyond ASCII.
func askable(n stmt.Name) bool {
	backslash, foreign := false, false
	for _, s := range [2]string{n.Schema, n.Name} {
		if len(s) > maxNameBytes {
			return false
		}
		for i := range len(s) {
			switch c := s[i]; {
			case c == 0:
				return false
			case c == '\\':
				backslash = true
			case c >= 0x80:
				foreign = true
			}
		}
	}
	return !backslash || !foreign
}

// quote writes an askable name as a literal that reads the same whatever standard_conforming_strings says.
func quote(b *strings.Builder, s string) {
	if strings.IndexByte(s, '\\') >= 0 {
		b.WriteByte('E')
		s = strings.ReplaceAll(s, `\`, `\\`)
	}
	b.WriteByte('\'')
	b.WriteString(strings.ReplaceAll(s, `'`, `''`))
	b.WriteByte('\'')
}

// Columns of the rows the query returns, all as text: question number, exists, catalog or volatile, unlogged, temporary,
// and whether the session has a temporary schema at all. NULL is false.
const columns = 6

const (
	eq      = ` OPERATOR(pg_catalog.=) `
	ne      = ` OPERATOR(pg_catalog.<>) `
	hasTemp = `pg_catalog.pg_my_temp_schema()` + ne + `0`
)

// build writes the query for all questions. Every name in it is qualified, operators too, as search_path may be hostile;
// aggregates without GROUP BY give a row for names that do not exist. It asks nothing PostgreSQL 9.6 does not know.
func build(questions []question) string {
	var b strings.Builder
	for i := range questions {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		b.WriteString("SELECT " + strconv.Itoa(i) + ", ")
		if questions[i].kind == function {
			writeFunction(&b, questions[i].name)
		} else {
			writeRelation(&b, questions[i].name)
		}
	}
	return b.String()
}

func writeRelation(b *strings.Builder, n stmt.Name) {
	anyOf := func(condition string, inSchema bool) {
		b.WriteString("pg_catalog.bool_or(" + condition)
		if inSchema && n.Schema != "" {
			b.WriteString(" AND ")
			writeSchema(b, "c.relnamespace", n.Schema)
		}
		b.WriteString("), ")
	}
	anyOf("c.relpersistence"+ne+"'t'", true)
	anyOf("c.relnamespace"+eq+"'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid", false)
	anyOf("c.relpersistence"+eq+"'u'", true)
	anyOf("c.relnamespace"+eq+"pg_catalog.pg_my_temp_schema()", false)
	b.WriteString(hasTemp + " FROM pg_catalog.pg_class c WHERE c.relname" + eq)
	quote(b, n.Name)
}

func writeFunction(b *strings.Builder, n stmt.Name) {
	b.WriteString("pg_catalog.bool_or(true), pg_catalog.bool_or(p.provolatile" + eq + "'v'), false, false, ")
	b.WriteString(hasTemp + " FROM pg_catalog.pg_proc p WHERE p.proname" + eq)
	quote(b, n.Name)
	if n.Schema != "" {
		b.WriteString(" AND ")
		writeSchema(b, "p.pronamespace", n.Schema)
	}
}

func writeSchema(b *strings.Builder, column, schema string) {
	b.WriteString(column + eq + "(SELECT s.oid FROM pg_catalog.pg_namespace s WHERE s.nspname" + eq)
	quote(b, schema)
	b.WriteString(")")
}

// read takes one row of the query's result.
func read(questions []question, row [][]byte) (tempSchema bool, err error) {
	if len(row) != columns {
		return false, fmt.Errorf("relcache: row with %d columns instead of %d", len(row), columns)
	}
	i, err := strconv.Atoi(string(row[0]))
	if err != nil || i < 0 || i >= len(questions) {
		return false, fmt.Errorf("relcache: row answers question %q of %d", row[0], len(questions))
	}
	var flags [columns]bool
	for c := 1; c < columns; c++ {
		switch string(row[c]) {
		case "t":
			flags[c] = true
		case "f", "":
		default:
			return false, fmt.Errorf("relcache: boolean column is %q", row[c])
		}
	}
	q := &questions[i]
	q.answered = true
	q.answer = answer{exists: flags[1], unlogged: flags[3]}
	if q.kind == function {
		q.answer.volatile = flags[2]
	} else {
		q.answer.catalog = flags[2]
	}
	q.temp = flags[4]
	return flags[5], nil
}
