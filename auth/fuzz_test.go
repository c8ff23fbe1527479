package auth

import (
	"encoding/binary"
	"strings"
	"testing"
)

func FuzzPasswords(f *testing.F) {
	f.Add([]byte("u:TEXTx\nv:AEShSltKZkF9x25a89JlEFPeA==\r\n"), "u", "TEXTy")
	f.Add([]byte(`a\:b:md5`+strings.Repeat("0", 32)+`:x:y`), "a:b", `\`)
	f.Add([]byte("\n:\n\\\n"), "x\r", "")
	f.Add([]byte("u:SCRAM-SHA-256$4096:a$b:c\nv:SCRAM-SHA-256$4096\\:a"), "u", "SCRAM-SHA-256$1:a$b:c:d")
	f.Fuzz(func(t *testing.T, data []byte, user, entry string) {
		p, _ := ParsePasswords("f", data, NewKey("mysecretkey"))
		e := p.Lookup(user)
		if clear, ok := e.Clear(); ok != e.CanSCRAM() || ok && clear == "" || ok && !e.CanMD5() {
			t.Fatalf("%v", e)
		}
		if user == "" || strings.ContainsAny(user+entry, "\n\x00\r") {
			return
		}
		updated := UpdatePasswords(data, PasswordLine{user, entry})
		after, _ := ParsePasswords("f", updated, NewKey("mysecretkey"))
		if after.Lookup(user) != ParseEntry(entry, NewKey("mysecretkey")) && !strings.Contains(string(data), "\x00") {
			t.Fatalf("%q does not hold the entry", updated)
		}
	})
}

func FuzzPasswordMessages(f *testing.F) {
	f.Add([]byte("secret\x00"), uint32(1))
	cache := testCache()
	f.Fuzz(func(t *testing.T, body []byte, salt uint32) {
		random := Random(binary.BigEndian.AppendUint32(make([]byte, 20), salt))
		for _, ask := range []Ask{AskCleartext, AskMD5} {
			p := Party{User: testUser, Entry: ParseEntry("TEXTcorrect horse", Key{}), Cache: cache, Random: random}
			a := NewAcceptor(planFor(ask), p)
			step, err := a.Next(body)
			step, err = workOff(a, step, err)
			if (err == nil) != step.Done {
				t.Fatalf("%+v %v", step, err)
			}
			if step.Done && ask == AskCleartext && string(body) != "correct horse\x00" {
				t.Fatalf("%q is taken", body)
			}
		}
	})
}
