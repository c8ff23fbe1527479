package wirescript

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Entry is one line of a transcript: a step, or a message that was received.
type Entry struct {
	// Conn is the connection's name.
	Conn string
	// Step is the text of a step; the other fields are empty then.
	Step string
	// Type is the message's letter, or EOF.
	Type string
	// Message is what was received; nil at EOF, and for what pgproto3 does not know.
	Message pgproto3.BackendMessage
	// Text shows the message after the allowed differences were taken out.
	Text string
}

func (e Entry) String() string {
	if e.Step != "" {
		return e.Conn + "> " + e.Step
	}
	return strings.TrimRight(e.Conn+"<   "+e.Type+" "+e.Text, " ")
}

// Transcript is what happened in a run.
type Transcript []Entry

// Lines are the transcript as text.
func (t Transcript) Lines() []string {
	var out []string
	for _, e := range t {
		out = append(out, e.String())
	}
	return out
}

// decode turns a frame into a message of its own memory.
func decode(kind byte, body []byte) (pgproto3.BackendMessage, error) {
	m := newMessage(kind, body)
	if m == nil {
		return nil, fmt.Errorf("unknown message %q", kind)
	}
	return m, m.Decode(body)
}

func newMessage(kind byte, body []byte) pgproto3.BackendMessage {
	switch kind {
	case '1':
		return &pgproto3.ParseComplete{}
	case '2':
		return &pgproto3.BindComplete{}
	case '3':
		return &pgproto3.CloseComplete{}
	case 'A':
		return &pgproto3.NotificationResponse{}
	case 'C':
		return &pgproto3.CommandComplete{}
	case 'c':
		return &pgproto3.CopyDone{}
	case 'D':
		return &pgproto3.DataRow{}
	case 'd':
		return &pgproto3.CopyData{}
	case 'E':
		return &pgproto3.ErrorResponse{}
	case 'G':
		return &pgproto3.CopyInResponse{}
	case 'H':
		return &pgproto3.CopyOutResponse{}
	case 'I':
		return &pgproto3.EmptyQueryResponse{}
	case 'K':
		return &pgproto3.BackendKeyData{}
	case 'N':
		return &pgproto3.NoticeResponse{}
	case 'n':
		return &pgproto3.NoData{}
	case 'R':
		return newAuthentication(body)
	case 'S':
		return &pgproto3.ParameterStatus{}
	case 's':
		return &pgproto3.PortalSuspended{}
	case 'T':
		return &pgproto3.RowDescription{}
	case 't':
		return &pgproto3.ParameterDescription{}
	case 'W':
		return &pgproto3.CopyBothResponse{}
	case 'V':
		return &pgproto3.FunctionCallResponse{}
	case 'v':
		return &pgproto3.NegotiateProtocolVersion{}
	case 'Z':
		return &pgproto3.ReadyForQuery{}
	}
	return nil
}

// newAuthentication knows what a server with trust says.
func newAuthentication(body []byte) pgproto3.BackendMessage {
	if len(body) >= 4 && binary.BigEndian.Uint32(body) == pgproto3.AuthTypeOk {
		return &pgproto3.AuthenticationOk{}
	}
	return nil
}

// show writes a message as the transcript has it.
func show(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.CommandComplete:
		return string(m.CommandTag)
	case *pgproto3.ReadyForQuery:
		return string(m.TxStatus)
	case *pgproto3.DataRow:
		return showValues(m.Values)
	case *pgproto3.CopyData:
		return showValue(m.Data)
	case *pgproto3.RowDescription:
		return showFields(m.Fields)
	case *pgproto3.ParameterDescription:
		return showTypes(m.ParameterOIDs)
	case *pgproto3.ErrorResponse:
		return showError(m)
	case *pgproto3.NoticeResponse:
		return showError((*pgproto3.ErrorResponse)(m))
	case *pgproto3.ParameterStatus:
		return m.Name + "=" + m.Value
	case *pgproto3.BackendKeyData:
		return fmt.Sprintf("pid %d key of %d bytes", m.ProcessID, len(m.SecretKey))
	case *pgproto3.NotificationResponse:
		return fmt.Sprintf("%s %q from %d", m.Channel, m.Payload, m.PID)
	case *pgproto3.FunctionCallResponse:
		return showValue(m.Result)
	case *pgproto3.CopyInResponse:
		return fmt.Sprintf("format %d columns %v", m.OverallFormat, m.ColumnFormatCodes)
	case *pgproto3.CopyOutResponse:
		return fmt.Sprintf("format %d columns %v", m.OverallFormat, m.ColumnFormatCodes)
	case *pgproto3.NegotiateProtocolVersion:
		return fmt.Sprintf("3.%d %q", m.NewestMinorProtocol&0xffff, m.UnrecognizedOptions)
	}
	return ""
}

func showValues(list [][]byte) string {
	words := make([]string, 0, len(list))
	for _, v := range list {
		words = append(words, showValue(v))
	}
	return strings.Join(words, " ")
}

// longValue is the length from which a value is shown by its sum only.
const longValue = 200

func showValue(v []byte) string {
	switch {
	case v == nil:
		return "NULL"
	case len(v) > longValue:
		return fmt.Sprintf("<%d bytes, sum %08x>", len(v), crc32.ChecksumIEEE(v))
	}
	return strconv.Quote(string(v))
}

func showFields(fields []pgproto3.FieldDescription) string {
	words := make([]string, 0, len(fields))
	for _, f := range fields {
		w := fmt.Sprintf("%s:%s", f.Name, showType(f.DataTypeOID))
		if f.TableOID != 0 {
			w += fmt.Sprintf("@%d.%d", f.TableOID, f.TableAttributeNumber)
		}
		if f.Format != 0 {
			w += "/binary"
		}
		if f.TypeModifier != -1 {
			w += fmt.Sprintf("(%d)", f.TypeModifier)
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func showType(oid uint32) string {
	if name, ok := typeNames()[oid]; ok {
		return name
	}
	return strconv.FormatUint(uint64(oid), 10)
}

func showTypes(oids []uint32) string {
	words := make([]string, 0, len(oids))
	for _, oid := range oids {
		words = append(words, showType(oid))
	}
	return strings.Join(words, " ")
}

func showError(m *pgproto3.ErrorResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q", m.Severity, m.Code, m.Message)
	add := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, " %s=%q", name, text)
		}
	}
	if m.SeverityUnlocalized != m.Severity {
		add("nonlocalized", m.SeverityUnlocalized)
	}
	add("detail", m.Detail)
	add("hint", m.Hint)
	if m.Position != 0 {
		add("position", strconv.Itoa(int(m.Position)))
	}
	if m.InternalPosition != 0 {
		add("internal", strconv.Itoa(int(m.InternalPosition)))
	}
	add("query", m.InternalQuery)
	add("where", m.Where)
	add("schema", m.SchemaName)
	add("table", m.TableName)
	add("column", m.ColumnName)
	add("type", m.DataTypeName)
	add("constraint", m.ConstraintName)
	add("file", m.File)
	if m.Line != 0 {
		add("line", strconv.Itoa(int(m.Line)))
	}
	add("routine", m.Routine)
	for _, code := range slices.Sorted(maps.Keys(m.UnknownFields)) {
		add(string(code), m.UnknownFields[code])
	}
	return b.String()
}

// Diff shows where two transcripts differ, with the lines around; "" if they are equal. want is prefixed by -, got by +.
func Diff(want, got []string) string {
	if slices.Equal(want, got) {
		return ""
	}
	var b strings.Builder
	common := commonSuffixes(want, got)
	i, j := 0, 0
	var context []string
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			context = append(context, "  "+want[i])
			i, j = i+1, j+1
			continue
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			flush(&b, &context)
			b.WriteString("- " + want[i] + "\n")
			i++
		default:
			flush(&b, &context)
			b.WriteString("+ " + got[j] + "\n")
			j++
		}
	}
	return b.String()
}

// flush writes the last lines before a difference.
func flush(b *strings.Builder, context *[]string) {
	const around = 4
	lines := *context
	if len(lines) > around {
		b.WriteString("  ...\n")
		lines = lines[len(lines)-around:]
	}
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	*context = nil
}

// commonSuffixes is the table of longest common subsequences.
func commonSuffixes(a, b []string) [][]int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}
