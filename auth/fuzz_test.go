package auth

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

func FuzzHBA(f *testing.F) {
	f.Add("local all all trust\nhost all all 10.0.0.0/8 md5 # c\n", "d", "u")
	f.Add("host \"a b\",@x +g 10.0.0.1 255.0.0.0 scram-sha-256\n", "a b", "u")
	f.Add("hostssl samerole all .example.com password pamservice=\"a b\"\r\n", "d", "u")
	f.Add("hostnossl sameuser @y samenet reject", "u", "u")
	f.Fuzz(func(t *testing.T, text, db, user string) {
		if len(text) > 1<<12 {
			return
		}
		open := func(path string) ([]byte, error) {
			if strings.HasSuffix(path, "y") {
				return []byte(text), nil
			}
			return []byte("x1, x2\nx3 @" + path + "y"), nil
		}
		rules, errs := ParseHBA("/etc/pool_hba.conf", []byte(text), open)
		if (rules == nil) != (len(errs) > 0) {
			t.Fatalf("rules %v, errors %v", rules, errs)
		}
		if rules != nil && rules.Len() == 0 {
			t.Fatal("no record and no error")
		}
		for _, c := range []Client{
			{Local: true},
			{},
			{Addr: netip.MustParseAddr("10.1.2.3"), Names: []string{"a.example.com"}},
			{Addr: netip.MustParseAddr("::ffff:10.1.2.3"), TLS: true, Interfaces: []netip.Prefix{netip.MustParsePrefix("::1/0"), {}}},
		} {
			rules.Needs(c, db, user)
			rule, reason := rules.Match(c, db, user)
			if rule.Method.String() == "none" || reason.Verdict == NoRecord && rule.Method != MethodReject {
				t.Fatalf("%+v %v", rule, reason)
			}
		}
	})
}

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

func FuzzScramFromClient(f *testing.F) {
	f.Add([]byte("SCRAM-SHA-256\x00\x00\x00\x00\x20"+rfcClientFirst), []byte(rfcClientFinal))
	f.Add([]byte("SCRAM-SHA-256\x00\xff\xff\xff\xff"), []byte(rfcClientFirst))
	f.Add(initialResponse("SCRAM-SHA-256", rfcClientFirst), []byte("c=biws,r="+rfcClientNonce+rfcServerNonce+",p=AAAA"))
	verifier := rfcAcceptor(f).job
	stored, _ := verifier.get()
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a := rfcAcceptorWith(stored)
		step, err := a.Next(first)
		step, err = workOff(a, step, err)
		if err != nil || step.Done {
			if step.Done {
				t.Fatal("done after one message")
			}
			return
		}
		step, err = a.Next(second)
		if step.Done && proofOf(string(second)) != proofOf(rfcClientFinal) {
			t.Fatalf("%q is taken: %v", second, err)
		}
	})
}

// proofOf decodes: several base64 texts mean the same bytes.
func proofOf(final string) string {
	_, text, _ := strings.Cut(final[strings.LastIndexByte(final, ',')+1:], "p=")
	proof, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return string(proof)
}

func FuzzScramFromServer(f *testing.F) {
	f.Add([]byte("SCRAM-SHA-256\x00\x00"), []byte(rfcServerFirst), []byte(rfcServerFinal))
	f.Add([]byte("x\x00SCRAM-SHA-256\x00"), []byte("r="+rfcClientNonce+"x,s=AAAA,i=1,x"), []byte("e=other-error"))
	f.Fuzz(func(t *testing.T, offer, first, final []byte) {
		l := rfcLogin(t)
		if _, err := l.Next(10, offer); err != nil {
			return
		}
		step, err := l.Next(11, first)
		if err == nil && step.Work != nil && len(l.scram.reply) > 0 && iterationsIn(l.scram.reply) > 5000 {
			return // right, but slow
		}
		if _, err = workOff(l, step, err); err != nil {
			return
		}
		if _, err = l.Next(12, final); err == nil && string(first) == rfcServerFirst && !strings.HasPrefix(string(final), rfcServerFinal) {
			t.Fatalf("%q is taken for a signature", final)
		}
	})
}

// iterationsIn is the magnitude of the third field, good enough to leave slow inputs out.
func iterationsIn(message string) int {
	fields := strings.Split(message, ",")
	n := 0
	for _, c := range strings.TrimPrefix(fields[2], "i=") {
		n = n*10 + int(c-'0')
	}
	return n
}

func FuzzPasswordMessages(f *testing.F) {
	f.Add([]byte("secret\x00"), uint32(1))
	f.Fuzz(func(t *testing.T, body []byte, salt uint32) {
		random := Random(binary.BigEndian.AppendUint32(make([]byte, 20), salt))
		for _, ask := range []Ask{AskCleartext, AskMD5} {
			a := NewAcceptor(planFor(ask), Party{User: testUser, Entry: ParseEntry("TEXTcorrect horse", Key{}), Cache: nil, Random: random})
			step, err := a.Next(body)
			if (err == nil) != step.Done {
				t.Fatalf("%+v %v", step, err)
			}
			if step.Done && ask == AskCleartext && string(body) != "correct horse\x00" {
				t.Fatalf("%q is taken", body)
			}
		}
	})
}
