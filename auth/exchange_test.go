package auth

import (
	"errors"
	"strings"
	"testing"
)

const testUser = "alice"

func testCache() *Cache { return NewCache(NewRandom(), 16) }

// converse runs an acceptor against a login, as the proxy and a client would. It returns how each side ended.
func converse(t *testing.T, server Acceptor, client *Login) (serverErr, clientErr error) {
	t.Helper()
	step, err := server.Start()
	for range 8 {
		step, err = workOff(server, step, err)
		if err != nil {
			return err, nil
		}
		var reply Step
		if step.Send {
			reply, err = client.Next(step.Code, step.Body)
			reply, err = workOff(client, reply, err)
			if err != nil {
				return nil, err
			}
		}
		if step.Done {
			if reply.Send {
				t.Fatal("the client answers after the end")
			}
			reply, err = client.Next(codeOK, nil)
			if err == nil && !reply.Done {
				t.Fatal("AuthenticationOk is not the end")
			}
			return nil, err
		}
		if step.MaxMessage < len(reply.Body) {
			t.Fatalf("answer of %d bytes, %d announced", len(reply.Body), step.MaxMessage)
		}
		step, err = server.Next(reply.Body)
	}
	t.Fatal("the exchange does not end")
	return nil, nil
}

func workOff(x interface{ Resume() (Step, error) }, step Step, err error) (Step, error) {
	for err == nil && step.Work != nil {
		step.Work()
		step, err = x.Resume()
	}
	return step, err
}

func planFor(ask Ask) Plan { return Plan{Ask: ask, Judge: JudgeEntry} }

func TestAcceptorAgainstLogin(t *testing.T) {
	key := NewKey("k")
	aes, err := key.Encrypt("secret")
	if err != nil {
		t.Fatal(err)
	}
	md5 := MD5Hash("secret", testUser)
	tests := []struct {
		ask      Ask
		entry    string
		password string
		ok       bool
	}{
		{AskCleartext, "TEXTsecret", "secret", true},
		{AskCleartext, "secret", "secret", true},
		{AskCleartext, "AES" + aes, "secret", true},
		{AskCleartext, md5, "secret", true},
		{AskCleartext, "TEXTsecret", "secre", false},
		{AskCleartext, md5, "secreT", false},
		{AskCleartext, "SCRAM-SHA-256$4096:x", "SCRAM-SHA-256$4096:x", false},
		{AskCleartext, "AESnonsense", "nonsense", false},
		{AskCleartext, "TEXTsecret", strings.Repeat("x", maxPasswordMessage-1), false},
		{AskMD5, "TEXTsecret", "secret", true},
		{AskMD5, "AES" + aes, "secret", true},
		{AskMD5, md5, "secret", true},
		{AskMD5, "TEXTsecret", "Secret", false},
		{AskMD5, md5, "Secret", false},
		{AskMD5, "SCRAM-SHA-256$4096:x", "x", false},
		{AskSCRAM, "TEXTsecret", "secret", true},
		{AskSCRAM, "AES" + aes, "secret", true},
		{AskSCRAM, "TEXTpäß\u00a0word", "päß word", true}, // both ends prepare alike
		{AskSCRAM, "TEXT\xff\xfe", "\xff\xfe", true},
		{AskSCRAM, "TEXTsecret", "secreT", false},
		{AskSCRAM, md5, "secret", false},
		{AskSCRAM, "SCRAM-SHA-256$4096:x", "x", false},
	}
	cache := testCache()
	for _, tt := range tests {
		name := tt.ask.String() + " " + tt.entry[:3] + " " + tt.password[:1]
		entry := ParseEntry(tt.entry, key)
		acceptor := NewAcceptor(planFor(tt.ask), Party{User: testUser, Entry: entry, Cache: cache, Random: NewRandom()})
		serverErr, clientErr := converse(t, acceptor, NewLogin(PasswordCredential(testUser, tt.password), cache, nil))
		if clientErr != nil {
			t.Errorf("%s: client: %v", name, clientErr)
		}
		if (serverErr == nil) != tt.ok {
			t.Errorf("%s: %v, want success %t", name, serverErr, tt.ok)
		}
		if serverErr != nil {
			if id := acceptor.Identity(); id != (Identity{}) {
				t.Errorf("%s: refused, and yet %v", name, id)
			}
			if _, err := acceptor.Next([]byte(tt.password + "\x00")); err == nil {
				t.Errorf("%s: may try again", name)
			}
			wantClientError(t, serverErr, "28P01", `password authentication failed for user "alice"`)
		} else if acceptor.Identity().By != ByEntry {
			t.Errorf("%s: identity %v", name, acceptor.Identity())
		}
	}
}

func wantClientError(t *testing.T, err error, state, message string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T is not an *Error: %v", err, err)
	}
	if e.SQLState() != state || e.ClientMessage != message || state == "28P01" && e.Detail+e.Hint != "" {
		t.Errorf("client is told %s %q %q %q, want %s %q", e.SQLState(), e.ClientMessage, e.Detail, e.Hint, state, message)
	}
}

// An entry's md5 hash logs in where md5 is asked, without anybody knowing the password.
func TestLoginWithHash(t *testing.T) {
	entry := ParseEntry(MD5Hash("secret", testUser), Key{})
	cache := testCache()
	plain := ParseEntry("TEXTsecret", Key{})
	for ask, ok := range map[Ask]bool{AskMD5: true, AskCleartext: false, AskSCRAM: false} {
		server := NewAcceptor(planFor(ask), Party{User: testUser, Entry: plain, Cache: cache, Random: NewRandom()})
		serverErr, clientErr := converse(t, server, NewLogin(EntryCredential(testUser, entry), cache, nil))
		if serverErr != nil || (clientErr == nil) != ok {
			t.Errorf("%v: server %v, client %v, want success %t", ask, serverErr, clientErr, ok)
		}
	}
}

func TestMD5Vector(t *testing.T) {
	const hash = "md521f3163f8f86fa10bdefbfbd502a8f06" // pg_md5 -m -u bob secret
	if got := MD5Hash("secret", "bob"); got != hash {
		t.Errorf("hash %s, want %s", got, hash)
	}
	// md5(32 digits of the hash, salt 01 02 03 04), by md5sum
	if got, want := md5Response(hash, []byte{1, 2, 3, 4}), "md5"+md5Sum(hash[3:]+"\x01\x02\x03\x04"); got != want {
		t.Errorf("response %s, want %s", got, want)
	}
}

func TestCleartextForServer(t *testing.T) {
	acceptor := NewAcceptor(Plan{Ask: AskCleartext, Judge: JudgeServer}, Party{User: testUser})
	if _, err := acceptor.Start(); err != nil {
		t.Fatal(err)
	}
	step, err := acceptor.Next([]byte("whatever\x00"))
	if err != nil || !step.Done || step.Send {
		t.Fatalf("%+v %v", step, err)
	}
	id := acceptor.Identity()
	if sent, ok := id.Sent(); id.By != ByNothing || sent != "whatever" || !ok {
		t.Errorf("identity %v, sent %t", id, ok)
	}
}

func TestPasswordMessageRefused(t *testing.T) {
	for _, ask := range []Ask{AskCleartext, AskMD5} {
		for name, body := range map[string]string{
			"empty": "", "no end": "secret", "zero inside": "se\x00cret\x00", "long": strings.Repeat("x", 70000) + "\x00",
		} {
			acceptor := NewAcceptor(planFor(ask), Party{User: testUser, Entry: ParseEntry("secret", Key{}), Cache: nil, Random: Random{}})
			_, err := acceptor.Next([]byte(body))
			var e *Error
			if !errors.As(err, &e) || e.SQLState() != "08P01" {
				t.Errorf("%v, %s: %v", ask, name, err)
			}
			if _, err := acceptor.Resume(); err == nil {
				t.Errorf("%v: Resume out of turn passes", ask)
			}
		}
	}
	acceptor := NewAcceptor(planFor(AskCleartext), Party{User: testUser, Entry: ParseEntry("TEXT", Key{}), Cache: nil, Random: Random{}})
	_, err := acceptor.Next([]byte{0})
	wantClientError(t, err, "28P01", `password authentication failed for user "alice"`)
}
