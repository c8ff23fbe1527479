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
	typeName // only about temporary ones
)

// question is one name the catalogue is asked about, and its answer.
type question struct {
	kind     kind
	name     stmt.Name
	answer   answer
	temp     bool // a temporary relation of the session
	only     bool // nothing but what concerns temporary objects is asked
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

// Columns of the rows the query returns, all as text: question number, exists, catalog or volatile, unlogged, temporary, is
// made where writes go, has children, and whether the session has a temporary schema at all. NULL is false.
const columns = 8

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
		switch q := &questions[i]; {
		case q.kind == function:
			writeFunction(&b, q.name)
		case q.kind == typeName:
			b.WriteString(onlyTemp(isTempType) + " FROM pg_catalog.pg_type c WHERE c.typname" + eq)
			quote(&b, q.name.Name)
		case q.only:
			b.WriteString(onlyTemp(isTemp) + " FROM pg_catalog.pg_class c WHERE c.relname" + eq)
			quote(&b, q.name.Name)
		default:
			writeRelation(&b, q.name)
		}
	}
	writeViews(&b, questions)
	return b.String()
}

const (
	isTemp     = "pg_catalog.bool_or(c.relnamespace" + eq + "pg_catalog.pg_my_temp_schema()), "
	isTempType = "pg_catalog.bool_or(c.typnamespace" + eq + "pg_catalog.pg_my_temp_schema()), "
)

// onlyTemp are the columns of a question that concerns nothing but temporary objects.
func onlyTemp(is string) string { return "NULL, NULL, NULL, " + is + "NULL, NULL, " + hasTemp }

func writeRelation(b *strings.Builder, n stmt.Name) {
	anyOf := func(condition string, inSchema bool) {
		b.WriteString("pg_catalog.bool_or((" + condition + ")")
		if inSchema && n.Schema != "" {
			b.WriteString(" AND ")
			writeSchema(b, "c.relnamespace", n.Schema)
		}
		b.WriteString("), ")
	}
	anyOf("c.relpersistence"+ne+"'t'", true)
	anyOf("c.relnamespace"+eq+"'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid", false)
	anyOf("c.relpersistence"+eq+"'u'", true)
	b.WriteString(isTemp)
	anyOf("c.relkind"+eq+"'S'", true)
	anyOf("c.relhassubclass AND c.relkind"+eq+"'r'", true)
	b.WriteString(hasTemp + " FROM pg_catalog.pg_class c WHERE c.relname" + eq)
	quote(b, n.Name)
}

// writeViews asks about all relations that may be views at once, for planning it is what costs: a row for each that is one.
func writeViews(b *strings.Builder, questions []question) {
	lead := " UNION ALL SELECT n.i, NULL, pg_catalog.bool_or(v.catalog), NULL, NULL, pg_catalog.bool_or(v.calls), NULL, " + hasTemp + " FROM (VALUES "
	for i := range questions {
		q := &questions[i]
		if q.kind != relation || q.only {
			continue
		}
		b.WriteString(lead + "(" + strconv.Itoa(i) + ", ")
		lead = ", "
		quote(b, q.name.Name)
		b.WriteString("::pg_catalog.name, ")
		if q.name.Schema == "" {
			b.WriteString("NULL::pg_catalog.name)")
			continue
		}
		quote(b, q.name.Schema)
		b.WriteString("::pg_catalog.name)")
	}
	if lead != ", " {
		return
	}
	b.WriteString(") n(i, name, schema), pg_catalog.pg_class c, LATERAL (" + view + ") v WHERE c.relname" + eq + "n.name AND c.relkind" + eq +
		"'v' AND (n.schema IS NULL OR c.relnamespace" + eq + "(SELECT s.oid FROM pg_catalog.pg_namespace s WHERE s.nspname" + eq +
		"n.schema)) GROUP BY n.i")
}

// view tells of a user's view, through those it reads, whether it reads a catalog, and whether it calls a volatile function or one
// that recovery refuses, or reads a sequence, of which standbys see what was logged ahead. The trees of rules name relations and functions by their numbers; those below 16384 come with the server.
const view = `WITH RECURSIVE r(o) AS (` +
	`SELECT c.oid UNION ` +
	`SELECT (pg_catalog.regexp_matches(w.ev_action::pg_catalog.text, ':relid ([1-9][0-9]*)', 'g'))[1]::pg_catalog.oid ` +
	`FROM r, pg_catalog.pg_rewrite w WHERE w.ev_class` + eq + `r.o AND w.ev_type` + eq + `'1' AND r.o OPERATOR(pg_catalog.>=) 16384), ` +
	`f(o) AS (SELECT (pg_catalog.regexp_matches(w.ev_action::pg_catalog.text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([1-9][0-9]*)', 'g'))[1]` +
	`::pg_catalog.oid FROM r, pg_catalog.pg_rewrite w WHERE w.ev_class` + eq + `r.o AND w.ev_type` + eq + `'1' ` +
	`AND r.o OPERATOR(pg_catalog.>=) 16384) ` +
	`SELECT (SELECT pg_catalog.bool_or(r.o OPERATOR(pg_catalog.<) 16384) FROM r WHERE r.o` + ne + `c.oid) AS catalog, ` +
	`(SELECT pg_catalog.bool_or(p.provolatile` + eq + `'v' OR p.proname` + eq + `'txid_current' OR p.proname` + eq + `'pg_current_xact_id') ` +
	`FROM f, pg_catalog.pg_proc p WHERE p.oid` + eq + `f.o) OR ` +
	`EXISTS (SELECT FROM r, pg_catalog.pg_class k WHERE k.oid` + eq + `r.o AND k.relkind` + eq + `'S') AS calls`

func writeFunction(b *strings.Builder, n stmt.Name) {
	b.WriteString("pg_catalog.bool_or(true), pg_catalog.bool_or(p.provolatile" + eq + "'v'), false, false, false, false, ")
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
	a := &q.answer // two rows tell of a view
	a.exists, a.unlogged = a.exists || flags[1], a.unlogged || flags[3]
	switch {
	case q.kind == function:
		a.volatile = flags[2]
	case !q.only:
		a.catalog, a.calls, a.parent = a.catalog || flags[2], a.calls || flags[5], a.parent || flags[6]
	}
	q.temp = q.temp || flags[4]
	return flags[7], nil
}
