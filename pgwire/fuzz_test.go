package pgwire

import (
	"bytes"
	"testing"
)

func FuzzParseStartup(f *testing.F) {
	f.Add(AppendStartup(nil, "user", "database", []Param{{"a", "b"}}))
	f.Add(AppendCancel(nil, Cancel{1, []byte("key!")}))
	f.Add(packet(codeSSL, ""))
	f.Add(packet(3<<16|9999, "user\x00u\x00_pq_.x\x00y\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		size, ok, err := StartupSize(b)
		if ok && (err != nil || size < 8 || size > MaxStartup) {
			t.Fatalf("size %d, %v", size, err)
		}
		s, err := ParseStartup(b)
		if err != nil {
			return
		}
		if s.Cancel == nil && !s.SSLRequest && !s.GSSRequest && (s.User == "" || s.Database == "" || s.Version.Major() != 3) {
			t.Fatalf("%+v", s)
		}
		if s.Cancel != nil {
			if again, err := ParseStartup(AppendCancel(nil, *s.Cancel)); err != nil || again.Cancel.PID != s.Cancel.PID || !bytes.Equal(again.Cancel.Key, s.Cancel.Key) {
				t.Fatalf("%+v becomes %+v, %v", s.Cancel, again, err)
			}
			return
		}
		if s.User == "" {
			return
		}
		again, err := ParseStartup(AppendStartup(nil, s.User, s.Database, s.Params))
		if err != nil || again.User != s.User || again.Database != s.Database || len(again.Params) != len(s.Params) {
			t.Fatalf("%+v becomes %+v, %v", s, again, err)
		}
		_ = s.AppendNegotiate(nil)
	})
}

func FuzzReadFields(f *testing.F) {
	f.Add(AppendError(nil, Fields{"ERROR", "42601", "m", "d", "h", "r"})[HeaderSize:])
	f.Add([]byte("Mcut"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := ReadFields(b)
		if n := len(got.Severity) + len(got.Code) + len(got.Message) + len(got.Detail) + len(got.Hint); n > len(b) {
			t.Fatalf("%d bytes out of %d", n, len(b))
		}
		if frame := AppendError(nil, got); got.Severity != "" && ReadFields(frame[HeaderSize:]) != got {
			t.Fatalf("%+v becomes %+v", got, ReadFields(frame[HeaderSize:]))
		}
	})
}

func FuzzColumns(f *testing.F) {
	f.Add(AppendDataRow(nil, []string{"a", ""})[HeaderSize:])
	f.Add([]byte("\x00\x01\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, bytes := 0, 0
		ok := Columns(b, func(i int, v []byte) {
			if i != n {
				t.Fatalf("column %d after %d", i, n)
			}
			n++
			bytes += len(v)
		})
		if bytes > len(b) || ok && n != int(b[0])<<8|int(b[1]) {
			t.Fatalf("%d columns, %d bytes of %d", n, bytes, len(b))
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, size, ok, err := Header(b)
		if ok && (err != nil || size < HeaderSize || size > MaxMessage+1 || typ != b[0]) || ok && len(b) < HeaderSize {
			t.Fatalf("%q %d %v", typ, size, err)
		}
	})
}
