package auth

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
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

func rfcAcceptor(t testing.TB) *scramAcceptor {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := rfcClient(t).GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	return rfcAcceptorWith(verifier)
}

func rfcAcceptorWith(verifier scram.StoredCredentials) *scramAcceptor {
	a := newScramAcceptor(planFor(AskSCRAM), Party{User: "user", Entry: ParseEntry("TEXTpencil", Key{}), Cache: testCache()})
	a.job.from.put(a.job.key, verifier)
	a.nonce = rfcServerNonce
	return a
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
	keys := &loginKeys{client: rfcClient(t), factors: map[scram.KeyFactors]bool{}}
	cache.logins.put(cache.mac("login", "pencil"), keys)
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
		if err != nil || !step.Done || l.Asked() != ServerSCRAM {
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
			_, err = a.Next(m)
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

// What an unknown user sees differs in nothing from what a known one with a wrong password sees.
func TestUnknownUserLooksKnown(t *testing.T) {
	cache := testCache()
	course := func(user string, entry Entry) (messages []string, work int, message string) {
		plan, err := Decide(Facts{User: user, HBA: true, Rule: Rule{Method: MethodSCRAM}, Entry: entry})
		if err != nil {
			t.Fatal(err)
		}
		acceptor := NewAcceptor(plan, Party{User: user, Entry: entry, Cache: cache, Random: Random{}})
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
	entry := ParseEntry("TEXTsecret", Key{})
	for round, wantWork := range []int{1, 0} {
		known, knownWork, knownText := course("u", entry)
		unknown, unknownWork, unknownText := course("u", Entry{})
		if strings.Join(known, "|") != strings.Join(unknown, "|") { // salts too: they depend on the name alone
			t.Errorf("messages differ:\n%q\n%q", known, unknown)
		}
		if knownWork != wantWork || unknownWork != wantWork {
			t.Errorf("round %d: work %d known, %d unknown, want %d", round, knownWork, unknownWork, wantWork)
		}
		if knownText != unknownText {
			t.Errorf("%q and %q", knownText, unknownText)
		}
	}
	one, _, _ := course("u1", Entry{})
	two, _, _ := course("u2", Entry{})
	if one[1] == two[1] {
		t.Error("two users share a salt")
	}
}

func TestDoomedPlanRefusesEvenTheRightPassword(t *testing.T) {
	cache := testCache()
	for _, ask := range []Ask{AskCleartext, AskMD5, AskSCRAM} {
		plan := planFor(ask)
		plan.doomed = passwordFailed(testUser, "doomed", "")
		acceptor := NewAcceptor(plan, Party{User: testUser, Entry: ParseEntry("secret", Key{}), Cache: cache, Random: NewRandom()})
		err, _ := converse(t, acceptor, NewLogin(PasswordCredential(testUser, "secret"), cache, nil))
		if !errors.Is(err, plan.doomed) {
			t.Errorf("%v: %v", ask, err)
		}
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
