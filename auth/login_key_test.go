package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// rfcKey is the key that the client of the RFC's exchange shows.
func rfcKey(t testing.TB) *clientKey {
	t.Helper()
	v, ok := parseVerifier(rfcVerifier)
	if !ok {
		t.Fatal("the verifier cannot be read")
	}
	_, text, _ := strings.Cut(rfcClientFinal, ",p=")
	proof, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.TrimPrefix(rfcClientFirst, "n,,")
	without, _, _ := strings.Cut(rfcClientFinal, ",p=")
	key, ok := v.clientKey(proof, bare+","+rfcServerFirst+","+without)
	if !ok {
		t.Fatal("the key cannot be recovered")
	}
	return key
}

func rfcKeyLogin(t testing.TB) *Login {
	return NewLogin(Credential{user: "user", key: rfcKey(t)}, testCache(), nil)
}

// rfcKeyExchange replaces the exchange of a login that has begun by the RFC's.
func rfcKeyExchange(t testing.TB, l *Login) *scramLogin {
	t.Helper()
	talk := newKeyTalk(l.cred.key, channelUnbound, nil)
	talk.nonce, talk.user = rfcClientNonce, "user"
	first, err := talk.Step("")
	if err != nil || first != rfcClientFirst {
		t.Fatal(first, err)
	}
	return &scramLogin{user: "user", cache: l.cache, key: l.cred.key, talk: talk, mechanism: scramSHA256, nonce: talk.nonce, first: first}
}

func TestLoginByKeyVector(t *testing.T) {
	l := rfcKeyLogin(t)
	step, err := l.Next(10, []byte("SCRAM-SHA-256\x00\x00"))
	if err != nil || !strings.HasPrefix(string(step.Body), "SCRAM-SHA-256\x00\x00\x00\x00\x28n,,n=,r=") {
		t.Fatalf("%q %v", step.Body, err)
	}
	l.scram = rfcKeyExchange(t, l)
	if step, err = l.Next(11, []byte(rfcServerFirst)); err != nil || step.Work != nil || string(step.Body) != rfcClientFinal {
		t.Fatalf("%q %v", step.Body, err)
	}
	if step, err = l.Next(12, []byte(rfcServerFinal)); err != nil || step.Send || step.Done {
		t.Fatalf("%+v %v", step, err)
	}
	if step, err = l.Next(0, nil); err != nil || !step.Done {
		t.Fatalf("%+v %v", step, err)
	}
}

func TestLoginByKeyToHostileServer(t *testing.T) {
	nonces := "r=" + rfcClientNonce + rfcServerNonce
	const salted = ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	tests := map[string]struct {
		messages []string // the last one is refused
		log      string
	}{
		"other salt": {
			[]string{nonces + ",s=AAAAaJ0SNY7soEsUEjb6gQ==,i=4096"},
			`the server's verifier for "user" differs from the one the client was checked against`,
		},
		"other count": {
			[]string{nonces + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4097"},
			`the server's verifier for "user" differs from the one the client was checked against`,
		},
		"own nonce":       {[]string{"r=" + rfcClientNonce + salted}, "nonce"},
		"other nonce":     {[]string{"r=x" + salted}, "nonce"},
		"no signature":    {[]string{rfcServerFirst, "v="}, "signature"},
		"other signature": {[]string{rfcServerFirst, "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32))}, "signature"},
		"error":           {[]string{rfcServerFirst, "e=other-error"}, "signature"},
		"nothing":         {[]string{rfcServerFirst, ""}, "signature"},
	}
	for name, tt := range tests {
		l := rfcKeyLogin(t)
		if _, err := l.Next(10, []byte("SCRAM-SHA-256\x00\x00")); err != nil {
			t.Fatal(err)
		}
		l.scram = rfcKeyExchange(t, l)
		var err error
		for i, m := range tt.messages {
			if err != nil {
				t.Fatalf("%s: message %d: %v", name, i, err)
			}
			_, err = l.Next(int32(11+i), []byte(m))
		}
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.LogDetail, tt.log) || strings.Contains(e.ClientMessage+e.Detail, "verifier") {
			t.Errorf("%s: %+v", name, err)
		}
		if _, err := l.Next(0, nil); err == nil {
			t.Errorf("%s: goes on after the error", name)
		}
	}
}

// A talk that is not asked in turn shows nothing and believes nothing.
func TestKeyTalkOutOfTurn(t *testing.T) {
	k := newKeyTalk(rfcKey(t), channelUnbound, nil)
	k.sent = 2
	if _, err := k.Step("v="); err == nil || k.Valid() {
		t.Error("an empty signature is taken before anything was signed")
	}
	if _, err := k.Step("v="); err == nil || k.Valid() {
		t.Error("a fourth step")
	}
}

func TestWrongProofYieldsNoKey(t *testing.T) {
	v, _ := parseVerifier(rfcVerifier)
	for _, proof := range [][]byte{nil, make([]byte, 31), make([]byte, 32), make([]byte, 33)} {
		if _, ok := v.clientKey(proof, "x"); ok {
			t.Errorf("%d bytes", len(proof))
		}
	}
}

func TestParseVerifier(t *testing.T) {
	if v, ok := parseVerifier(rfcVerifier); !ok || v.iterations != 4096 || len(v.salt) != 16 || verifierText(v) != rfcVerifier {
		t.Errorf("%t, %d iterations, salt of %d bytes", ok, v.iterations, len(v.salt))
	}
	with := func(old, replacement string) string { return strings.Replace(rfcVerifier, old, replacement, 1) }
	bad := map[string]string{
		"empty":             "",
		"prefix only":       "SCRAM-SHA-256$",
		"other hash":        with("SCRAM-SHA-256", "SCRAM-SHA-512"),
		"no iterations":     with("4096", ""),
		"zero iterations":   with("4096", "0"),
		"negative":          with("4096", "-1"),
		"plus sign":         with("4096", "+4096"),
		"leading zero":      with("4096", "04096"),
		"too many":          with("4096", "1000001"),
		"overflow":          with("4096", "99999999999999999999"),
		"no salt":           with("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
		"bad salt":          with("W22Z", "W2!Z"),
		"line end in salt":  with("W22Z", "W22Z\n"),
		"unpadded salt":     with("gQ==", "gQ"),
		"loose bits":        with("gQ==", "gR=="),
		"long salt":         with("W22ZaJ0SNY7soEsUEjb6gQ==", base64.StdEncoding.EncodeToString(make([]byte, maxSalt+1))),
		"short stored key":  with("WG5d8oPm", ""),
		"short server key":  with("wfPLwcE6", ""),
		"no server key":     rfcVerifier[:strings.LastIndexByte(rfcVerifier, ':')],
		"something behind":  rfcVerifier + "x",
		"further field":     rfcVerifier + ":AAAA",
		"further dollar":    with("$WG5d", "$$WG5d"),
		"space behind":      rfcVerifier + " ",
		"carriage return":   rfcVerifier + "\r",
		"lower case prefix": with("SCRAM", "scram"),
	}
	for name, field := range bad {
		if _, ok := parseVerifier(field); ok {
			t.Errorf("%s: %s", name, field)
		}
	}
	e := ParseEntry(with("4096", "0"), Key{})
	if e.Kind() != EntrySCRAM || e.CanSCRAM() || e.CanCleartext() || e.CanMD5() || e.Serves(ServerSCRAM) {
		t.Error("a malformed verifier serves for something")
	}
	e = ParseEntry(rfcVerifier, Key{})
	if !e.CanSCRAM() || !e.CanCleartext() || e.CanMD5() || e.Serves(ServerSCRAM) || e.Serves(ServerPassword) || !e.Serves(ServerTrust) {
		t.Error("a verifier serves for the wrong things")
	}
}

// rfcProvedAcceptor has been through the RFC's exchange with a client.
func rfcProvedAcceptor(t testing.TB) *scramAcceptor {
	t.Helper()
	a := rfcAcceptor(t)
	if _, err := a.Next(initialResponse(scramSHA256, rfcClientFirst)); err != nil {
		t.Fatal(err)
	}
	if step, err := a.Next([]byte(rfcClientFinal)); err != nil || !step.Done {
		t.Fatal(err)
	}
	return a
}

// The key that a client's exchange yields is the one that its password yields.
func TestKeyRecovered(t *testing.T) {
	id := rfcProvedAcceptor(t).Identity()
	if id.By != ByEntry || id.key == nil || *id.key != *rfcKey(t) {
		t.Errorf("%v", id)
	}
	clear := NewAcceptor(planFor(AskSCRAM), Party{User: testUser, Entry: ParseEntry("TEXTsecret", Key{}), Cache: testCache()})
	if err, _ := converse(t, clear, NewLogin(PasswordCredential(testUser, "secret"), testCache(), nil)); err != nil {
		t.Fatal(err)
	}
	if clear.Identity().key != nil {
		t.Error("a key where the entry has the password")
	}
}
