package fakepg

import (
	"encoding/binary"
	"strings"

	"gopgpool/pgwire"
)

// World maps statements, by their exact text, to answers. What it does not know fails with 42601, but for the few statements
// every server knows: transaction control, what resets a session, and the default isolation level.
type World map[string]Answer

// Answer is what a statement does.
type Answer struct {
	Params  []uint32 // types of its parameters
	Columns []Column // none: it returns no rows
	Rows    [][]string
	Tag     string
	Error   *pgwire.Fields // instead of all that
	Notice  *pgwire.Fields
	Set     *pgwire.Param // a setting that is reported
	Before  string        // tag of a command that stands in front, in the same text
	CopyIn  bool          // it reads CopyData, then says Tag
	CopyOut []string      // lines it sends as CopyData
	Begins  bool          // a transaction block
	Ends    bool
}

// Column describes a column of an answer.
type Column struct {
	Name string
	Type uint32
	Size int16
}

// Types of columns.
const (
	Int4 = 23
	Text = 25
)

// Int4Column and TextColumn describe the columns literals make.
func Int4Column(name string) Column { return Column{name, Int4, 4} }

// TextColumn see Int4Column.
func TextColumn(name string) Column { return Column{name, Text, -1} }

// One is the answer to SELECT 1.
func One() Answer {
	return Answer{Columns: []Column{Int4Column("?column?")}, Rows: [][]string{{"1"}}, Tag: "SELECT 1"}
}

// Failure is an ordinary error.
func Failure(code, message string) *pgwire.Fields {
	return &pgwire.Fields{Severity: "ERROR", Code: code, Message: message}
}

// isolationQuestion is asked by whoever opens a connection.
const isolationQuestion = "SHOW default_transaction_isolation"

// answer finds what a statement does.
func (c *Conn) answer(sql string) Answer {
	c.server.mu.Lock()
	a, ok := c.server.world[sql]
	c.server.mu.Unlock()
	if ok {
		return a
	}
	return c.common(sql)
}

// common are the statements every server knows.
func (c *Conn) common(sql string) Answer {
	switch word := strings.ToUpper(strings.TrimRight(sql, "; ")); word {
	case "BEGIN", "START TRANSACTION":
		return Answer{Tag: word, Begins: true}
	case "COMMIT", "ROLLBACK", "ABORT":
		return c.ending(word)
	case "DISCARD ALL":
		return Answer{Tag: word}
	case "SELECT 1":
		return One()
	case "":
		return Answer{}
	}
	if sql == isolationQuestion {
		return Answer{Columns: []Column{TextColumn("current_setting")}, Rows: [][]string{{"read committed"}}, Tag: "SELECT 1"}
	}
	return Answer{Error: Failure("42601", "the fake server knows no answer to: "+sql)}
}

func (c *Conn) ending(word string) Answer {
	a := Answer{Tag: word, Ends: true}
	if word == "ABORT" || c.status == 'E' {
		a.Tag = "ROLLBACK"
	}
	if c.status == 'I' {
		a.Notice = &pgwire.Fields{Severity: "WARNING", Code: "25P01", Message: "there is no transaction in progress"}
	}
	return a
}

// initialSettings are those PostgreSQL 15 reports at login, in its order.
func initialSettings(st *pgwire.Startup) []pgwire.Param {
	user := "off"
	if st.User == "postgres" {
		user = "on"
	}
	list := []pgwire.Param{
		{Name: "application_name", Value: st.Param("application_name")},
		{Name: "client_encoding", Value: "UTF8"},
		{Name: "DateStyle", Value: "ISO, MDY"},
		{Name: "default_transaction_read_only", Value: "off"},
		{Name: "in_hot_standby", Value: "off"},
		{Name: "integer_datetimes", Value: "on"},
		{Name: "IntervalStyle", Value: "postgres"},
		{Name: "is_superuser", Value: user},
		{Name: "server_encoding", Value: "UTF8"},
		{Name: "server_version", Value: "15.0"},
		{Name: "session_authorization", Value: st.User},
		{Name: "standard_conforming_strings", Value: "on"},
		{Name: "TimeZone", Value: "Etc/UTC"},
	}
	return list
}

func appendDescription(dst []byte, columns []Column) []byte {
	if len(columns) == 0 {
		return pgwire.AppendSimple(dst, pgwire.NoData)
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(len(columns)))
	for _, c := range columns {
		body = append(append(body, c.Name...), 0)
		body = binary.BigEndian.AppendUint32(body, 0) // table
		body = binary.BigEndian.AppendUint16(body, 0) // attribute
		body = binary.BigEndian.AppendUint32(body, c.Type)
		body = binary.BigEndian.AppendUint16(body, uint16(c.Size))
		body = binary.BigEndian.AppendUint32(body, 0xffffffff)
		body = binary.BigEndian.AppendUint16(body, 0)
	}
	return pgwire.AppendBody(dst, pgwire.RowDescription, body)
}

func appendParameters(dst []byte, types []uint32) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(types)))
	for _, t := range types {
		body = binary.BigEndian.AppendUint32(body, t)
	}
	return pgwire.AppendBody(dst, pgwire.ParameterDescription, body)
}
