package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// failing are users who do not get in under a record, and why not.
func failing(t testing.TB) map[string]Entry {
	const user, password = "u", "secret"
	key := NewKey("phrase")
	aes, err := key.Encrypt(password)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Entry{
		"unknown":                      {},
		"wrong password, in clear":     ParseEntry("TEXT"+password, key),
		"wrong password, encrypted":    ParseEntry("AES"+aes, key),
		"wrong password, hashed":       ParseEntry(MD5Hash(password, user), key),
		"wrong password, verifier":     ParseEntry(uniformVerifier, key),
		"entry of another key":         ParseEntry("AES"+aes, NewKey("another phrase")),
		"entry that is no entry":       ParseEntry("md5", key),
		"wrong password, long":         ParseEntry("TEXT"+strings.Repeat(password, 100), key),
		"wrong password, not in ASCII": ParseEntry("TEXTpässwörd", key),
	}
}

// uniformVerifier is of the password secret; its salt is as long as those of users without one.
const uniformVerifier = "SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$" +
	"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// failure is what a client sees of a login that fails, and how often expensive work was done for it. Salts are left out: they
// are those of the name.
type failure struct {
	course string
	work   int
}

// failWith carries a login with a wrong password to its end.
func failWith(t testing.TB, method Method, entry Entry, cache *Cache) failure {
	const user = "u"
	plan, err := Decide(Facts{User: user, HBA: true, Rule: Rule{Method: method}, Entry: entry})
	if err != nil {
		t.Fatal(err)
	}
	acceptor := NewAcceptor(plan, Party{User: user, Entry: entry, Cache: cache, Random: Random{}})
	login := NewLogin(PasswordCredential(user, "wrong"), testCache(), nil)
	var f failure
	step, err := acceptor.Start()
	for err == nil {
		if step.Work != nil {
			f.work++
			step.Work()
			step, err = acceptor.Resume()
			continue
		}
		text := string(step.Body)
		if before, after, ok := strings.Cut(text, ",s="); ok {
			_, count, _ := strings.Cut(after, ",")
			text = before[:2] + "," + count
		}
		f.course += fmt.Sprintf("%d %q, ", step.Code, text)
		if step.Done {
			t.Fatalf("%s gets in", f.course)
		}
		reply, clientErr := login.Next(step.Code, step.Body)
		if reply, clientErr = workOff(login, reply, clientErr); clientErr != nil {
			t.Fatal(clientErr)
		}
		step, err = acceptor.Next(reply.Body)
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	f.course += e.SQLSTATE + " " + e.ClientMessage + e.Detail + e.Hint
	return f
}

// uniformMethods are those that compare with an entry, and which entries take part: under password an unknown user's is the server's
// to judge, and under md5 a verifier is asked for in another exchange.
var uniformMethods = map[Method]func(Entry) bool{
	MethodMD5:      func(e Entry) bool { return e.Kind() != EntrySCRAM },
	MethodSCRAM:    func(Entry) bool { return true },
	MethodPassword: Entry.Present,
}

// Why a login fails shows neither in what the client is sent nor in how much is computed: not the first time, when nothing is remembered
// of anybody, and not the next times.
func TestFailuresAreAlike(t *testing.T) {
	for method, takesPart := range uniformMethods {
		for name, entry := range failing(t) {
			if !takesPart(entry) {
				continue
			}
			reference := failWith(t, method, ParseEntry("TEXTsecret", Key{}), testCache())
			cache := testCache()
			for round := range 3 {
				if got := failWith(t, method, entry, cache); got != reference {
					t.Errorf("%v, %s, time %d:\n got %+v\nwant %+v", method, name, round+1, got, reference)
				}
			}
		}
	}
}

// BenchmarkFailure measures what TestFailuresAreAlike counts.
func BenchmarkFailure(b *testing.B) {
	for method, takesPart := range uniformMethods {
		for name, entry := range failing(b) {
			if !takesPart(entry) {
				continue
			}
			b.Run(fmt.Sprintf("%v/%s", method, name), func(b *testing.B) {
				cache := testCache()
				for b.Loop() {
					failWith(b, method, entry, cache)
				}
			})
		}
	}
}
