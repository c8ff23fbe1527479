package proxy

import (
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"gopgpool/pgwire"
)

// rowsOf is a RowDescription of columns of these types.
func rowsOf(tb testing.TB, fields ...pgproto3.FieldDescription) []byte {
	tb.Helper()
	out, err := (&pgproto3.RowDescription{Fields: fields}).Encode(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func TestFormOf(t *testing.T) {
	field := func(name string, oid uint32, typmod int32) pgproto3.FieldDescription {
		return pgproto3.FieldDescription{Name: []byte(name), DataTypeOID: oid, TypeModifier: typmod, DataTypeSize: 4}
	}
	base := rowsOf(t, field("a", 23, -1), field("b", 25, -1))
	shown, elsewhere := field("a", 23, -1), field("b", 25, -1)
	shown.Format = 1
	elsewhere.TableOID, elsewhere.TableAttributeNumber = 99, 7
	if formOf(base) != formOf(rowsOf(t, shown, elsewhere)) {
		t.Error("format and origin of a column are not what a client reads it by")
	}
	for name, other := range map[string][]byte{
		"no column":          rowsOf(t),
		"a column less":      rowsOf(t, field("a", 23, -1)),
		"a column more":      rowsOf(t, field("a", 23, -1), field("b", 25, -1), field("c", 25, -1)),
		"another name":       rowsOf(t, field("a", 23, -1), field("c", 25, -1)),
		"another type":       rowsOf(t, field("a", 23, -1), field("b", 1043, -1)),
		"another modifier":   rowsOf(t, field("a", 23, -1), field("b", 25, 14)),
		"another order":      rowsOf(t, field("b", 25, -1), field("a", 23, -1)),
		"names run together": rowsOf(t, field("ab", 23, -1), field("", 25, -1)),
	} {
		if formOf(base) == formOf(other) {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// FuzzFormOf: whatever a server says, its form is known, and the same whatever else is in the buffer.
func FuzzFormOf(f *testing.F) {
	f.Add([]byte("\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00"))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, body []byte) {
		frame := pgwire.AppendBody(nil, pgwire.RowDescription, body)
		form := formOf(frame)
		if form == 0 {
			t.Fatal("a form that means that none is known")
		}
		if len(frame) > inspected && formOf(frame[:inspected]) != form {
			t.Fatal("more than what has to be there was read")
		}
	})
}

// TestAskedOnce: a client that has been told of a statement's rows costs one question for each server that it comes to, and none after;
// none at all if it is about to be told again.
func TestAskedOnce(t *testing.T) {
	bound, portal := pgwire.AppendBind(nil, "", "s"), pgwire.AppendDescribe(nil, 'P', "")
	for _, c := range []struct {
		name  string
		batch []byte
		asked int
	}{
		{"told once", synced(bound, pgwire.AppendExecute(nil, "")), 1},
		{"told each time", synced(bound, portal, pgwire.AppendExecute(nil, "")), 0},
		{"told of another portal", synced(pgwire.AppendBind(nil, "p", "s"), portal), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
			client := p.connect(t, "u")
			client.Send(synced(pgwire.AppendParse(nil, "s", "SELECT 1"), pgwire.AppendDescribe(nil, 'S', "s")))
			client.UntilReady()
			for range 2 {
				ok(t, client, "BEGIN")
				ok(t, client, insert)
				client.Send(c.batch)
				client.UntilReady()
				client.Query("ROLLBACK")
			}
			asked := 0
			for _, m := range p.fakes[0].Last().Received() {
				if m.Type == pgwire.Describe && m.Body[0] == 'S' {
					asked++
				}
			}
			if asked != c.asked {
				t.Errorf("the primary was asked %d times", asked)
			}
			client.Bye()
		})
	}
}
