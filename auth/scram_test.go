package auth

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
)

// The exchange of RFC 7677, section 3.
const (
	rfcClientNonce = "rOprNGfwEbeRWgbNEkqO"
	rfcServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	rfcClientFirst = "n,,n=user,r=" + rfcClientNonce
	rfcServerFirst = "r=" + rfcClientNonce + rfcServerNonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	rfcClientFinal = "c=biws,r=" + rfcClientNonce + rfcServerNonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcClient(t testing.TB) *scram.Client {
	client, err := scram.SHA256.NewClientUnprepped("user", "pencil", "")
	if err != nil {
		t.Fatal(err)
	}
	return client.WithNonceGenerator(func() string { return rfcClientNonce })
}

// rfcVerifier is what a server of PostgreSQL's would store for the password of that exchange.
const rfcVerifier = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" +
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

func rfcAcceptor(testing.TB) *scramAcceptor {
	a := newScramAcceptor(planFor(AskSCRAM), Party{User: "user", Entry: ParseEntry(rfcVerifier, Key{}), Cache: testCache()})
	a.nonce = rfcServerNonce
	return a
}

// verifierText writes a verifier as PostgreSQL does.
func verifierText(v verifier) string {
	b64 := base64.StdEncoding.EncodeToString
	return verifierPrefix + strconv.Itoa(v.iterations) + ":" + b64([]byte(v.salt)) + "$" + b64(v.stored[:]) + ":" + b64(v.server[:])
}

func initialResponse(mechanism, message string) []byte {
	b := binary.BigEndian.AppendUint32(cstring(mechanism), uint32(len(message)))
	return append(b, message...)
}

func TestScramAcceptorVector(t *testing.T) {
	for _, separate := range []bool{false, true} {
		a := rfcAcceptor(t)
		step, err := a.Start()
		if err != nil || step.Code != 10 || string(step.Body) != "SCRAM-SHA-256\x00\x00" {
			t.Fatalf("%+v %v", step, err)
		}
		if separate {
			step, err = a.Next([]byte("SCRAM-SHA-256\x00\xff\xff\xff\xff"))
			if err != nil || step.Code != 11 || len(step.Body) != 0 {
				t.Fatalf("%+v %v", step, err)
			}
			step, err = a.Next([]byte(rfcClientFirst))
		} else {
			step, err = a.Next(initialResponse("SCRAM-SHA-256", rfcClientFirst))
		}
		if err != nil || step.Work != nil || step.Code != 11 || string(step.Body) != rfcServerFirst {
			t.Fatalf("%+v %v", step, err)
		}
		step, err = a.Next([]byte(rfcClientFinal))
		if err != nil || !step.Done || step.Code != 12 || string(step.Body) != rfcServerFinal {
			t.Fatalf("%+v %v", step, err)
		}
		if _, err := a.Next([]byte(rfcClientFinal)); err == nil {
			t.Error("a message after the end passes")
		}
	}
}

// rfcLogin is a login whose first message is the RFC's, with the keys' cache shared for further ones.
func rfcLogin(t testing.TB) *Login {
	cache := testCache()
	id := cache.mac("login", "pencil")
	cache.logins.put(id, &loginKeys{id: id, client: rfcClient(t), factors: map[scram.KeyFactors]bool{}})
	return NewLogin(PasswordCredential("user", "pencil"), cache, nil)
}

func TestScramLoginVector(t *testing.T) {
	l := rfcLogin(t)
	for round := range 2 {
		l = NewLogin(l.cred, l.cache, nil)
		step, err := l.Next(10, []byte("SCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00"))
		if err != nil || string(step.Body) != string(initialResponse("SCRAM-SHA-256", rfcClientFirst)) {
			t.Fatalf("%q %v", step.Body, err)
		}
		step, err = l.Next(11, []byte(rfcServerFirst))
		if (step.Work != nil) != (round == 0) {
			t.Errorf("round %d: work %t", round, step.Work != nil)
		}
		step, err = workOff(l, step, err)
		if err != nil || string(step.Body) != rfcClientFinal {
			t.Fatalf("%q %v", step.Body, err)
		}
		step, err = l.Next(12, []byte(rfcServerFinal))
		if err != nil || step.Send || step.Done {
			t.Fatalf("%+v %v", step, err)
		}
		step, err = l.Next(0, nil)
		if err != nil || !step.Done || l.asked != ServerSCRAM {
			t.Fatalf("%+v %v", step, err)
		}
	}
}

func TestScramFromHostileClient(t *testing.T) {
	first := func(message string) []byte { return initialResponse("SCRAM-SHA-256", message) }
	nonces := "r=" + rfcClientNonce + rfcServerNonce
	tests := []struct {
		name     string
		messages [][]byte
		state    string
	}{
		{"nothing", [][]byte{nil}, "08P01"},
		{"mechanism only", [][]byte{[]byte("SCRAM-SHA-256\x00")}, "08P01"},
		{"other mechanism", [][]byte{initialResponse("SCRAM-SHA-256-PLUS", rfcClientFirst)}, "08P01"},
		{"length beyond end", [][]byte{[]byte("SCRAM-SHA-256\x00\x7f\xff\xff\xffn,,n=,r=x")}, "08P01"},
		{"length too small", [][]byte{append(first("n,,n=,r=x"), 'y')}, "08P01"},
		{"length -2", [][]byte{[]byte("SCRAM-SHA-256\x00\xff\xff\xff\xfe")}, "08P01"},
		{"huge", [][]byte{first("n,,n=,r=" + strings.Repeat("x", 2000))}, "08P01"},
		{"empty first", [][]byte{first("")}, "08P01"},
		{"channel binding", [][]byte{first("p=tls-server-end-point,,n=user,r=" + rfcClientNonce)}, "08P01"},
		{"unknown flag", [][]byte{first("x,,n=user,r=" + rfcClientNonce)}, "08P01"},
		{"authzid", [][]byte{first("n,a=root,n=user,r=" + rfcClientNonce)}, "08P01"},
		{"extension", [][]byte{first("n,,m=1,n=user,r=" + rfcClientNonce)}, "08P01"},
		{"no nonce", [][]byte{first("n,,n=user,x=1")}, "08P01"},
		{"zero byte", [][]byte{first("n,,n=\x00,r=" + rfcClientNonce)}, "08P01"},
		{"bad binding data", [][]byte{first(rfcClientFirst), []byte("c=eSws," + nonces + ",p=AAAA")}, "08P01"},
		{"other nonce", [][]byte{first(rfcClientFirst), []byte("c=biws,r=x,p=AAAA")}, "08P01"},
		{"short proof", [][]byte{first(rfcClientFirst), []byte("c=biws," + nonces + ",p=AAAA")}, "08P01"},
		{"no base64", [][]byte{first(rfcClientFirst), []byte("c=biws," + nonces + ",p=!")}, "08P01"},
		{"zero proof", [][]byte{
			first(rfcClientFirst),
			[]byte("c=biws," + nonces + ",p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))),
		}, "28P01"},
	}
	for _, tt := range tests {
		a := rfcAcceptor(t)
		var err error
		for i, m := range tt.messages {
			if err != nil {
				t.Fatalf("%s: message %d: %v", tt.name, i, err)
			}
			var step Step
			step, err = a.Next(m)
			_, err = workOff(a, step, err)
		}
		var e *Error
		if !errors.As(err, &e) || e.SQLState() != tt.state {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.state)
		}
	}
}

// A client that could bind its channel, and was rightly offered no such mechanism, is served.
func TestScramFlagY(t *testing.T) {
	client := rfcClient(t)
	talk := client.NewConversationAdvertisingChannelBinding()
	message, err := talk.Step("")
	if err != nil || !strings.HasPrefix(message, "y,,") {
		t.Fatal(message, err)
	}
	a := rfcAcceptor(t)
	step, err := a.Next(initialResponse("SCRAM-SHA-256", message))
	if err != nil {
		t.Fatal(err)
	}
	if message, err = talk.Step(string(step.Body)); err != nil {
		t.Fatal(err)
	}
	if step, err = a.Next([]byte(message)); err != nil || !step.Done {
		t.Fatalf("%+v %v", step, err)
	}
}

func TestScramFromHostileServer(t *testing.T) {
	salted := ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i="
	nonces := "r=" + rfcClientNonce + rfcServerNonce
	type message struct {
		code int32
		body string
	}
	offer, first := message{10, "SCRAM-SHA-256\x00\x00"}, message{11, rfcServerFirst}
	tests := map[string][]message{
		"no mechanism":          {{10, "\x00"}},
		"PLUS only":             {{10, "SCRAM-SHA-256-PLUS\x00\x00"}},
		"continue first":        {{11, rfcServerFirst}},
		"final first":           {{12, rfcServerFinal}},
		"GSS":                   {{7, ""}},
		"md5 salt":              {{5, "abc"}},
		"ok inside SCRAM":       {offer, {0, ""}},
		"password inside SCRAM": {offer, {3, ""}},
		"own nonce back":        {offer, {11, "r=" + rfcClientNonce + salted + "4096"}},
		"other nonce":           {offer, {11, "r=x" + rfcClientNonce + salted + "4096"}},
		"zero iterations":       {offer, {11, nonces + salted + "0"}},
		"negative iterations":   {offer, {11, nonces + salted + "-1"}},
		"too many iterations":   {offer, {11, nonces + salted + "1000001"}},
		"overflow":              {offer, {11, nonces + salted + "99999999999999999999"}},
		"no salt":               {offer, {11, nonces + ",s=,i=4096"}},
		"bad salt":              {offer, {11, nonces + ",s=!,i=4096"}},
		"empty":                 {offer, {11, ""}},
		"huge":                  {offer, {11, nonces + strings.Repeat("x", 5000) + salted + "4096"}},
		"final at once":         {offer, {12, rfcServerFinal}},
		"first twice":           {offer, first, {11, rfcServerFirst}},
		"bad signature":         {offer, first, {12, "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32))}},
		"error in final":        {offer, first, {12, "e=other-error"}},
		"no signature":          {offer, first, {0, ""}},
		"final twice":           {offer, first, {12, rfcServerFinal}, {12, rfcServerFinal}},
		"asks again after SCRAM": {
			offer, first, {12, rfcServerFinal}, {3, ""},
		},
		"password twice": {{3, ""}, {3, ""}},
	}
	for name, messages := range tests {
		l := rfcLogin(t)
		var err error
		for i, m := range messages {
			if err != nil {
				t.Fatalf("%s: message %d: %v", name, i, err)
			}
			step, stepErr := l.Next(m.code, []byte(m.body))
			_, err = workOff(l, step, stepErr)
		}
		if err == nil {
			t.Errorf("%s passes", name)
		}
		if _, err := l.Next(0, nil); err == nil {
			t.Errorf("%s: goes on after the error", name)
		}
		if _, err := l.Resume(); err == nil {
			t.Errorf("%s: resumes after the error", name)
		}
	}
}

// course is what a client with a wrong password goes through: messages, expensive steps, and the refusal.
func course(t *testing.T, cache *Cache, user string, entry Entry) (messages []string, work int, refusal string) {
	t.Helper()
	plan, err := Decide(Facts{User: user, HBA: true, Rule: Rule{Method: MethodSCRAM}, Entry: entry})
	if err != nil {
		t.Fatal(err)
	}
	acceptor := NewAcceptor(plan, Party{User: user, Entry: entry, Cache: cache})
	login := NewLogin(PasswordCredential(user, "wrong"), testCache(), nil)
	step, err := acceptor.Start()
	for err == nil {
		if step.Work != nil {
			work++
			step.Work()
			step, err = acceptor.Resume()
			continue
		}
		text := string(step.Body)
		if _, after, ok := strings.Cut(text, ",s="); ok {
			text = after
		}
		messages = append(messages, text)
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
	return messages, work, e.SQLSTATE + e.ClientMessage + e.Detail + e.Hint
}

func verifierWith(t testing.TB, password string, factors scram.KeyFactors) Entry {
	t.Helper()
	client, err := scram.SHA256.NewClientUnprepped("", password, "")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := client.WithMinIterations(1).GetStoredCredentialsWithError(factors)
	if err != nil {
		t.Fatal(err)
	}
	v := verifier{iterations: factors.Iters, salt: factors.Salt, stored: digest(stored.StoredKey), server: digest(stored.ServerKey)}
	entry := ParseEntry(verifierText(v), Key{})
	if !entry.CanSCRAM() {
		t.Fatal("the verifier cannot be read")
	}
	return entry
}

// What an unknown user sees differs in nothing from what a known one with a wrong password sees, and costs the same:
// one key derivation, also once the known user's keys are remembered.
func TestUnknownUserLooksKnown(t *testing.T) {
	for _, learned := range []bool{false, true} {
		cache := testCache()
		factors := scram.KeyFactors{Salt: strings.Repeat("s", scramSalt), Iters: scramIterations}
		if learned {
			factors = scram.KeyFactors{Salt: strings.Repeat("s", 20), Iters: 5000}
		}
		entries := map[string]Entry{
			"verifier": verifierWith(t, "secret", factors), "TEXT": ParseEntry("TEXTsecret", Key{}),
			"md5": ParseEntry(MD5Hash("secret", "u"), Key{}), "AES": ParseEntry("AESxxxx", Key{}),
			"SCRAM": ParseEntry("SCRAM-SHA-256$x", Key{}), "none": {},
		}
		if learned {
			course(t, cache, "v", entries["verifier"])
		}
		for range 2 { // the second time keys are remembered
			unknown, unknownWork, unknownText := course(t, cache, "u", Entry{})
			for name, entry := range entries {
				known, work, text := course(t, cache, "u", entry)
				if name == "verifier" { // its salt is the server's, of the same length
					known[1] = salted(unknown[1], known[1])
				}
				if strings.Join(known, "|") != strings.Join(unknown, "|") {
					t.Errorf("%s: messages differ:\n%q\n%q", name, known, unknown)
				}
				if work != 1 || unknownWork != 1 {
					t.Errorf("%s: work %d, unknown %d", name, work, unknownWork)
				}
				if text != unknownText {
					t.Errorf("%s: %q and %q", name, text, unknownText)
				}
			}
			right := NewAcceptor(planFor(AskSCRAM), Party{User: "u", Entry: entries["TEXT"], Cache: cache, Random: NewRandom()})
			if err, _ := converse(t, right, NewLogin(PasswordCredential("u", "secret"), cache, nil)); err != nil {
				t.Fatal(err)
			}
		}
		one, _, _ := course(t, cache, "u1", Entry{})
		two, _, _ := course(t, cache, "u2", Entry{})
		if one[1] == two[1] {
			t.Error("two users share a salt")
		}
	}
}

// salted puts the salt of one first message in place of another's if both are equally long.
func salted(from, to string) string {
	salt, _, _ := strings.Cut(from, ",")
	old, rest, _ := strings.Cut(to, ",")
	if len(salt) != len(old) {
		return to
	}
	return salt + "," + rest
}

// Verifiers out of bounds do not change what other users are shown.
func TestShapeLearned(t *testing.T) {
	usual := shape{iterations: scramIterations, salt: scramSalt}
	tests := []struct {
		iterations, salt int
		want             shape
	}{
		{4096, 16, shape{4096, 16, true}},
		{10000, 24, shape{10000, 24, true}},
		{4095, 16, usual},
		{32769, 16, usual},
		{4096, 8, usual},
		{4096, 33, usual},
	}
	for _, tt := range tests {
		cache := testCache()
		if got := cache.learn(verifier{iterations: tt.iterations, salt: strings.Repeat("x", tt.salt)}); got != tt.want {
			t.Errorf("%d iterations, salt of %d bytes: %+v", tt.iterations, tt.salt, got)
		}
		if got := cache.learn(verifier{iterations: 9999, salt: strings.Repeat("x", 16)}); tt.want.learned && got != tt.want {
			t.Errorf("a second verifier changes the shape: %+v", got)
		}
	}
}

func TestDoomedPlanRefusesEvenTheRightPassword(t *testing.T) {
	cache := testCache()
	for _, entry := range []Entry{ParseEntry("secret", Key{}), serverVerifier()} {
		for _, ask := range []Ask{AskCleartext, AskMD5, AskSCRAM, AskSCRAM} { // the second time keys are remembered
			plan := planFor(ask)
			plan.doomed = passwordFailed(testUser, "doomed", "")
			acceptor := NewAcceptor(plan, Party{User: testUser, Entry: entry, Cache: cache, Random: NewRandom()})
			err, _ := converse(t, acceptor, NewLogin(PasswordCredential(testUser, "secret"), cache, nil))
			if !errors.Is(err, plan.doomed) {
				t.Errorf("%v, %v: %v", entry, ask, err)
			}
		}
	}
}

// Invented names and wrong passwords push nobody's keys out.
func TestFailuresAreNotRemembered(t *testing.T) {
	cache := testCache()
	for _, method := range []Method{MethodSCRAM, MethodPassword} {
		for _, entry := range []Entry{{}, serverVerifier(), ParseEntry("SCRAM-SHA-256$x", Key{}), ParseEntry(MD5Hash("secret", "u"), Key{})} {
			if method == MethodPassword && !entry.Present() {
				continue // a server's to judge
			}
			failWith(t, method, entry, cache)
		}
	}
	if known, logins := cache.known.order.Len(), cache.logins.order.Len(); known+logins > 0 {
		t.Errorf("%d users and %d passwords are remembered", known, logins)
	}
}

func TestServerSaltsDoNotFillMemory(t *testing.T) {
	cache := testCache()
	for i := range 3 * maxFactors {
		keys, err := cache.login("secret")
		if err != nil {
			t.Fatal(err)
		}
		if err := cache.deriveLogin(keys, scram.KeyFactors{Salt: string(rune('a' + i)), Iters: 1}); err != nil {
			t.Fatal(err)
		}
		if len(keys.factors) > maxFactors {
			t.Fatalf("%d salts of one password are kept", len(keys.factors))
		}
	}
}

// A reconnect of a user whose keys are remembered.
func BenchmarkScramReconnect(b *testing.B) {
	cache := testCache()
	entry := ParseEntry("TEXTsecret", Key{})
	for b.Loop() {
		acceptor := NewAcceptor(planFor(AskSCRAM), Party{User: testUser, Entry: entry, Cache: cache, Random: NewRandom()})
		login := NewLogin(PasswordCredential(testUser, "secret"), cache, nil)
		step, err := acceptor.Start()
		for err == nil && !step.Done {
			step, err = workOff(acceptor, step, err)
			reply, loginErr := login.Next(step.Code, step.Body)
			if reply, loginErr = workOff(login, reply, loginErr); loginErr != nil {
				b.Fatal(loginErr)
			}
			if !step.Done {
				step, err = acceptor.Next(reply.Body)
			}
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
