package auth

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func hexString(b []byte) string { return hex.EncodeToString(b) }

// Nothing that holds a password shows it, however it is printed.
func TestSecretsDoNotPrint(t *testing.T) {
	const password = "hunter2secret"
	key := NewKey(password)
	aes, err := key.Encrypt(password)
	if err != nil {
		t.Fatal(err)
	}
	hash := MD5Hash(password, testUser)
	random := NewRandom()
	entry := ParseEntry("TEXT"+password, key)
	passwords, _ := ParsePasswords("f", []byte("u:"+password), key)
	scramKey := rfcKey(t)
	values := []any{
		scramKey, *scramKey, scramKey.verifier, ParseEntry(rfcVerifier, key),
		Identity{By: ByEntry, key: scramKey},
		Credential{user: testUser, key: scramKey},
		NewLogin(Credential{user: testUser, key: scramKey}, testCache(), nil),
		Party{User: testUser, Entry: entry},
		&Party{User: testUser, Entry: ParseEntry(rfcVerifier, key)},
		Plan{Unasked: Identity{sent: password}},
		Facts{User: testUser, Entry: ParseEntry(rfcVerifier, key), Rule: Rule{LDAP: LDAPOptions{BindPassword: password}}},
		rfcProvedAcceptor(t), rfcProvedAcceptor(t).Identity(),
		key, &key, entry, ParseEntry("AES"+aes, key), ParseEntry(hash, key),
		EntryCredential(testUser, entry), EntryCredential(testUser, ParseEntry(hash, key)),
		PasswordCredential(testUser, password), NewProof(password, random), random,
		Identity{By: ByEntry, sent: password},
		Facts{User: testUser, Entry: entry},
		Opened{Proof: NewProof(password, random)},
		passwords, &PasswordFile{key: key},
		NewLogin(PasswordCredential(testUser, password), testCache(), nil), NewCache(random, 1),
	}
	for _, ask := range []Ask{AskCleartext, AskMD5, AskSCRAM} {
		acceptor := NewAcceptor(planFor(ask), Party{User: testUser, Entry: entry, Cache: testCache(), Random: random})
		_, err := acceptor.Next([]byte(password + "\x00"))
		values = append(values, acceptor, err)
	}
	proof := NewProof(password, random)
	forbidden := []string{password, aes, hash, hash[3:], hexString(random[:]), hexString(proof.sum[:])}
	for _, secret := range [][]byte{scramKey.key[:], scramKey.verifier.stored[:], scramKey.verifier.server[:]} {
		decimal := strings.Trim(fmt.Sprint(secret), "[]")
		forbidden = append(forbidden, hexString(secret), base64.StdEncoding.EncodeToString(secret), decimal, strings.ReplaceAll(decimal, " ", ","))
	}
	for _, v := range values {
		j, _ := json.Marshal(v) // fails for what holds functions, and then gives nothing
		for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%s", v), string(j)} {
			for _, secret := range forbidden {
				if strings.Contains(text, secret) {
					t.Errorf("%T prints a secret", v)
				}
			}
		}
	}
}

// No error of any exchange contains what a client sent as its password, nor what pool_passwd holds.
func TestErrorsDoNotTell(t *testing.T) {
	const sent, stored = "sentpassword", "storedpassword"
	secrets := []string{sent, stored, MD5Hash(sent, testUser)[3:], MD5Hash(stored, testUser)[3:]}
	check := func(what string, err error) {
		t.Helper()
		if err == nil {
			return
		}
		text := fmt.Sprintf("%v %+v %#v", err, err, err)
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the error tells a secret", what)
			}
		}
	}
	cache := testCache()
	entries := []string{"TEXT" + stored, MD5Hash(stored, testUser), "AES" + stored, "SCRAM-SHA-256$" + stored, stored}
	for _, field := range entries {
		entry := ParseEntry(field, Key{})
		for _, ask := range []Ask{AskCleartext, AskMD5, AskSCRAM} {
			bodies := []string{sent, sent + "\x00", sent + "\x00x", "SCRAM-SHA-256\x00\x00\x00\x00\x0c" + sent, "n,,n=" + sent}
			for _, body := range bodies {
				acceptor := NewAcceptor(planFor(ask), Party{User: testUser, Entry: entry, Cache: cache, Random: Random{}})
				_, err := acceptor.Next([]byte(body))
				check("acceptor", err)
			}
			acceptor := NewAcceptor(planFor(ask), Party{User: testUser, Entry: entry, Cache: cache, Random: NewRandom()})
			err, _ := converse(t, acceptor, NewLogin(PasswordCredential(testUser, sent), cache, nil))
			check("exchange", err)
		}
		for _, code := range []int32{0, 3, 5, 7, 10, 11, 12} {
			l := NewLogin(EntryCredential(testUser, entry), cache, nil)
			_, err := l.Next(code, []byte(stored))
			check("login", err)
			_, err = l.Next(code, []byte(stored))
			check("login", err)
		}
		for _, server := range []ServerMethod{Unasked, 0, 3, 5, 7, 10} {
			for _, id := range []Identity{{}, {sent: sent}, {By: ByEntry}, {By: ByTrust}} {
				_, _, err := Answer(Facts{User: testUser, Entry: entry, Server: server}, id)
				check("answer", err)
			}
		}
	}
	_, notices := ParsePasswords("f", []byte(stored+"\n:"+stored+"\nu:"+stored+"\x00"), Key{})
	if len(notices) != 3 || strings.Contains(fmt.Sprint(notices), stored) {
		t.Error("a notice tells a secret, or is missing")
	}
}

func TestProof(t *testing.T) {
	p := NewProof("secret", NewRandom())
	if !p.Matches("secret") || p.Matches("Secret") || p.Matches("") {
		t.Error("the proof is wrong")
	}
	if (Proof{}).Matches("") || (Proof{}).Matches("secret") {
		t.Error("no proof matches")
	}
	if p == NewProof("secret", NewRandom()) {
		t.Error("two salts give one hash")
	}
}

func TestSASLPrep(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"secret", "secret"},
		{"tab\tkept", "tab\tkept"}, // ASCII is never looked at
		{"I\u00adX", "IX"},
		{"\u00aa", "a"},
		{"\u2168", "IX"},
		{"a\u00a0b", "a b"},
		{"a\u200bb", "a b"}, // a space before it is "nothing"
		{"a\u1806b", "ab"},
		{"\u00ad", "\u00ad"},             // would become empty
		{"\u0627\u0031", "\u0627\u0031"}, // right to left, but ends otherwise: as it is
		{"\u06271\u0628", "\u06271\u0628"},
		{"a\u0627\u2168", "a\u0627\u2168"}, // both directions: as it is
		{"\u0007é", "\u0007é"},             // prohibited
		{"\U0001F600", "\U0001F600"},       // unassigned in Unicode 3.2
		{"\u2168\xff", "\u2168\xff"},       // no UTF-8
		{"\ufb01", "fi"},
	}
	for _, tt := range tests {
		if got := saslPrep(tt.in); got != tt.want {
			t.Errorf("%+q: %+q, want %+q", tt.in, got, tt.want)
		}
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[string, int](2)
	l.put("a", 1)
	l.put("b", 2)
	l.get("a")
	l.put("c", 3)
	l.put("c", 4)
	if _, ok := l.get("b"); ok {
		t.Error("b was used longest ago, and is still there")
	}
	a, okA := l.get("a")
	c, okC := l.get("c")
	if !okA || !okC || a != 1 || c != 4 || len(l.items) != 2 || l.order.Len() != 2 {
		t.Errorf("a %d %t, c %d %t, %d items", a, okA, c, okC, len(l.items))
	}
}
