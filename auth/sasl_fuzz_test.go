package auth

import (
	"encoding/base64"
	"strings"
	"testing"
)

// A client's messages, with and without a bound channel: nobody gets in but with the one right proof.
func FuzzScramFromClient(f *testing.F) {
	f.Add([]byte("SCRAM-SHA-256\x00\x00\x00\x00\x20"+rfcClientFirst), []byte(rfcClientFinal), false)
	f.Add([]byte("SCRAM-SHA-256\x00\xff\xff\xff\xff"), []byte(rfcClientFirst), false)
	f.Add(initialResponse(scramSHA256, rfcClientFirst), []byte("c=biws,r="+rfcClientNonce+rfcServerNonce+",p=AAAA"), false)
	f.Add(initialResponse(scramSHA256Plus, "p=tls-server-end-point,,n=user,r="+rfcClientNonce), []byte(rfcClientFinal), true)
	f.Fuzz(func(t *testing.T, first, second []byte, bound bool) {
		a := rfcAcceptor(t)
		if bound {
			a.party.Binding = []byte("binding")
		}
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

// A server's messages, to a login by password and to one by key: only the one right signature passes.
func FuzzScramFromServer(f *testing.F) {
	f.Add([]byte("SCRAM-SHA-256\x00\x00"), []byte(rfcServerFirst), []byte(rfcServerFinal), false)
	f.Add([]byte("SCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00"), []byte(rfcServerFirst), []byte(rfcServerFinal), true)
	f.Add([]byte("x\x00SCRAM-SHA-256\x00"), []byte("r="+rfcClientNonce+"x,s=AAAA,i=1,x"), []byte("e=other-error"), false)
	f.Fuzz(func(t *testing.T, offer, first, final []byte, byKey bool) {
		l := rfcLogin(t)
		if byKey {
			l = rfcKeyLogin(t)
		}
		_, err := l.Next(10, offer)
		if err != nil {
			return
		}
		if byKey {
			l.scram = rfcKeyExchange(t, l)
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

// What is read as a verifier is one: written again it is the same text.
func FuzzVerifier(f *testing.F) {
	f.Add(rfcVerifier)
	f.Add("SCRAM-SHA-256$1:AA==$:")
	f.Fuzz(func(t *testing.T, field string) {
		v, ok := parseVerifier(field)
		if ok != v.usable() {
			t.Fatalf("%t %+v", ok, v)
		}
		if ok && verifierText(v) != field {
			t.Fatalf("%q is read as %q", field, verifierText(v))
		}
	})
}
