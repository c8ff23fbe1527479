package pgwire

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in   string
		size int
		ok   bool
		bad  bool
	}{
		{"", 0, false, false},
		{"Q\x00\x00\x00", 0, false, false},
		{"Q\x00\x00\x00\x00", 0, false, true},
		{"Q\x00\x00\x00\x03", 0, false, true},
		{"Q\x00\x00\x00\x04", 5, true, false},
		{"Q\x00\x00\x00\x05x", 6, true, false},
		{"D\x40\x00\x00\x00", MaxMessage + 1, true, false},
		{"D\x40\x00\x00\x01", 0, false, true},
		{"D\x7f\xff\xff\xff", 0, false, true},
		{"D\xff\xff\xff\xff", 0, false, true},
	}
	for _, c := range cases {
		typ, size, ok, err := Header([]byte(c.in))
		if size != c.size || ok != c.ok || (err != nil) != c.bad || ok && typ != c.in[0] {
			t.Errorf("%q: %q %d %v %v", c.in, typ, size, ok, err)
		}
		var le *LengthError
		if c.bad && (!errors.As(err, &le) || le.Type != c.in[0]) {
			t.Errorf("%q: %v", c.in, err)
		}
	}
}

func TestCString(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, s, rest string
		ok          bool
	}{{"", "", "", false}, {"abc", "", "", false}, {"\x00", "", "", true}, {"ab\x00cd\x00", "ab", "cd\x00", true}} {
		s, rest, ok := CString([]byte(c.in))
		if string(s) != c.s || string(rest) != c.rest || ok != c.ok {
			t.Errorf("%q: %q %q %v", c.in, s, rest, ok)
		}
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in   string
		want []string // "NULL" is one
		ok   bool
	}{
		{"", nil, false},
		{"\x00", nil, false},
		{"\x00\x00", nil, true},
		{"\x00\x01", nil, false},
		{"\x00\x01\x00\x00\x00", nil, false},
		{"\x00\x01\x00\x00\x00\x00", []string{""}, true},
		{"\x00\x02\xff\xff\xff\xff\x00\x00\x00\x02ab", []string{"NULL", "ab"}, true},
		{"\x00\x01\x00\x00\x00\x03ab", nil, false},
		{"\x00\x01\x7f\xff\xff\xffab", nil, false},
		{"\x00\x01\x80\x00\x00\x00", []string{"NULL"}, true},
		{"\xff\xff\x00\x00\x00\x01a", []string{"a"}, false},
	}
	for _, c := range cases {
		var got []string
		ok := Columns([]byte(c.in), func(i int, v []byte) {
			if i != len(got) {
				t.Errorf("%q: column %d is told as the %dth", c.in, i, len(got))
			}
			if v == nil {
				got = append(got, "NULL")
			} else {
				got = append(got, string(v))
			}
		})
		if ok != c.ok || len(got) != len(c.want) {
			t.Fatalf("%q: %q, %v", c.in, got, ok)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%q: %q", c.in, got)
			}
		}
	}
}

func TestReadFields(t *testing.T) {
	t.Parallel()
	cases := []struct {
		in   string
		want Fields
	}{
		{"", Fields{}},
		{"\x00", Fields{}},
		{"SERROR\x00C42601\x00Mwrong\x00Ddetail\x00Hhint\x00Rroutine\x00\x00", Fields{"ERROR", "42601", "wrong", "detail", "hint", "routine"}},
		{"SFEHLER\x00VERROR\x00C42601\x00\x00", Fields{Severity: "ERROR", Code: "42601"}},
		{"VERROR\x00SFEHLER\x00\x00", Fields{Severity: "ERROR"}},
		{"Mcut of", Fields{Message: "cut of"}},
		{"M", Fields{}},
		{"Zunknown\x00Mx\x00\x00", Fields{Message: "x"}},
		{"Ma\x00\x00Mb\x00", Fields{Message: "a"}},
	}
	for _, c := range cases {
		if got := ReadFields([]byte(c.in)); got != c.want {
			t.Errorf("%q: %+v instead of %+v", c.in, got, c.want)
		}
	}
}

// TestAgainstCodec has another implementation read what is written here.
func TestAgainstCodec(t *testing.T) {
	t.Parallel()
	check := func(name string, frame []byte, m pgproto3.Message, want func() bool) {
		t.Helper()
		_, size, ok, err := Header(frame)
		if err != nil || !ok || size != len(frame) {
			t.Errorf("%s: %d of %d bytes, %v", name, size, len(frame), err)
			return
		}
		if err := m.Decode(frame[HeaderSize:]); err != nil || !want() {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	var q pgproto3.Query
	check("Query", AppendQuery(nil, "SELECT 1"), &q, func() bool { return q.String == "SELECT 1" })
	var p pgproto3.Parse
	check("Parse", AppendParse(nil, "n", "SELECT 1"), &p, func() bool { return p.Name == "n" && p.Query == "SELECT 1" && len(p.ParameterOIDs) == 0 })
	var b pgproto3.Bind
	check("Bind", AppendBind(nil, "p", "n"), &b, func() bool { return b.DestinationPortal == "p" && b.PreparedStatement == "n" && len(b.Parameters) == 0 })
	var e pgproto3.Execute
	check("Execute", AppendExecute(nil, "p"), &e, func() bool { return e.Portal == "p" && e.MaxRows == 0 })
	var c pgproto3.Close
	check("Close", AppendClose(nil, 'S', "n"), &c, func() bool { return c.ObjectType == 'S' && c.Name == "n" })
	var s pgproto3.Sync
	check("Sync", AppendSimple(nil, Sync), &s, func() bool { return true })
	var z pgproto3.ReadyForQuery
	check("ReadyForQuery", AppendReady(nil, 'T'), &z, func() bool { return z.TxStatus == 'T' })
	var tag pgproto3.CommandComplete
	check("CommandComplete", AppendTag(nil, "SELECT 1"), &tag, func() bool { return string(tag.CommandTag) == "SELECT 1" })
	var ps pgproto3.ParameterStatus
	check("ParameterStatus", AppendParameterStatus(nil, "a", "b"), &ps, func() bool { return ps.Name == "a" && ps.Value == "b" })
	var md5 pgproto3.AuthenticationMD5Password
	check("md5", AppendAuthentication(nil, 5, []byte("salt")), &md5, func() bool { return string(md5.Salt[:]) == "salt" })
	var key pgproto3.BackendKeyData
	check("BackendKeyData", AppendBackendKeyData(nil, 7, []byte{0, 0, 0, 9}), &key, func() bool { return key.ProcessID == 7 })
	var rd pgproto3.RowDescription
	check("RowDescription", AppendRowDescription(nil, []string{"a", "b"}), &rd, func() bool {
		return len(rd.Fields) == 2 && string(rd.Fields[1].Name) == "b" && rd.Fields[1].DataTypeOID == textOID
	})
	var dr pgproto3.DataRow
	check("DataRow", AppendDataRow(nil, []string{"", "xy"}), &dr, func() bool { return len(dr.Values) == 2 && string(dr.Values[1]) == "xy" })
	var er pgproto3.ErrorResponse
	check("ErrorResponse", AppendError(nil, Fields{"FATAL", "08006", "m", "d", "h", "r"}), &er, func() bool {
		return er.Severity == "FATAL" && er.SeverityUnlocalized == "FATAL" && er.Code == "08006" && er.Message == "m" && er.Detail == "d" && er.Hint == "h"
	})
	var nr pgproto3.NoticeResponse
	check("NoticeResponse", AppendNotice(nil, Fields{Severity: "NOTICE", Message: "m"}), &nr, func() bool { return nr.Message == "m" })
}

// TestAppendRenamed: another name in the place of the old one, and a length that fits it.
func TestAppendRenamed(t *testing.T) {
	bind := AppendBind(nil, "p", "old")
	for _, name := range []string{"", "new", "a much longer name"} {
		got := AppendRenamed([]byte("x"), bind, len(bind), HeaderSize+2, name)
		if want := append([]byte("x"), AppendBind(nil, "p", name)...); string(got) != string(want) {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	head := bind[:len(bind)-4]
	got := AppendRenamed(nil, head, len(bind), HeaderSize+2, "other")
	if want := AppendBind(nil, "p", "other"); string(got)+string(bind[len(bind)-4:]) != string(want) {
		t.Errorf("the beginning of a message: got %q", got)
	}
}
