package auth

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func md5Sum(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// world is one row of the matrix: a user who exists on the server with password "secret".
type world struct {
	facts  Facts
	server ServerMethod
	sends  string // the client's password
	cache  *Cache
}

// journey is what a client went through: the challenge, and the connection it got or why it got none.
type journey struct {
	asked   string
	id      Identity
	opened  Opened
	refused error
}

func (j journey) String() string {
	switch {
	case j.refused != nil && j.asked == "":
		return "refused: " + j.refused.Error()
	case j.refused != nil:
		return j.asked + " refused: " + j.refused.Error()
	case j.opened.Source == SourceNone:
		return j.asked + " ok"
	}
	return j.asked + " ok " + j.opened.Source.String()
}

// outcome runs one client through everything: what it is asked, what a server is told, and whether that server is content.
func (w world) outcome(t *testing.T) journey {
	t.Helper()
	cache := w.cache
	f := w.facts
	plan, err := Decide(f)
	if err == nil && plan.NeedServer {
		f.Server = w.server
		plan, err = Decide(f)
	}
	if err != nil {
		return journey{refused: err}
	}
	j := journey{asked: "-", id: plan.Unasked}
	p := Party{User: f.User, Entry: f.Entry, Cache: cache, Random: NewRandom(), Check: outside}
	if acceptor := NewAcceptor(plan, p); acceptor != nil {
		j.asked = map[Ask]string{AskCleartext: "c", AskMD5: "m", AskSCRAM: "s"}[plan.Ask]
		serverErr, clientErr := converse(t, acceptor, NewLogin(PasswordCredential(f.User, w.sends), cache, nil))
		if clientErr != nil && w.sends != "" {
			t.Fatal(clientErr)
		}
		if j.refused = errors.Join(serverErr, clientErr); j.refused != nil {
			return j
		}
		j.id = acceptor.Identity()
	}
	f.Server = w.server
	credential, source, err := Answer(f, j.id)
	if err != nil {
		j.refused = err
		return j
	}
	j.refused = w.login(t, cache, credential)
	j.id, j.opened = j.id.ProvedBy(w.server, source), Opened{Server: w.server, Source: source}
	if sent, ok := j.id.Sent(); ok && source == SourceClient {
		j.opened.Proof = NewProof(sent, NewRandom())
	}
	return j
}

// outside is an LDAP server or PAM.
func outside(password string) error {
	if password == "secret" {
		return nil
	}
	return errors.New("invalid credentials")
}

var errServerRefuses = errors.New("refused by server")

func (w world) login(t *testing.T, cache *Cache, credential Credential) error {
	t.Helper()
	login := NewLogin(credential, cache, nil)
	ask := map[ServerMethod]Ask{ServerPassword: AskCleartext, ServerMD5: AskMD5, ServerSCRAM: AskSCRAM}[w.server]
	if ask == AskNothing {
		_, err := login.Next(0, nil)
		return err
	}
	entry := ParseEntry("TEXTsecret", Key{})
	if ask == AskSCRAM {
		entry = serverVerifier()
	}
	server := NewAcceptor(planFor(ask), Party{User: w.facts.User, Entry: entry, Cache: cache, Random: NewRandom()})
	if serverErr, clientErr := converse(t, server, login); serverErr != nil || clientErr != nil {
		return errServerRefuses
	}
	return nil
}

// cheapCache is one in which deriving keys of a password takes no time, but for verifiers.
func cheapCache() *Cache {
	c := testCache()
	c.shape = shape{iterations: 1, salt: scramSalt, learned: true}
	return c
}

// serverVerifier is what the server has stored of the user's password.
func serverVerifier() Entry {
	return ParseEntry("SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$"+
		"bpSY5Ze9NUH+I35LC3gVq+DpBfK46iXBxvhAKqVu9pE=:VpYlBuxyzeCI1KnctrefdljpB1mk3Gp7sBI/t11+NkQ=", Key{})
}

// The result matrix of the reference, and beside it what we do on purpose otherwise: "password, none" on a server
// that trusts. E: TEXT, m: md5, -: none, S: SCRAM form that is none, V: the server's verifier, A: AES without its key.
func TestMatrix(t *testing.T) {
	const noEntry = `refused: %s authentication failed: pool_passwd file does not contain an entry for "alice"`
	noMD5, noSCRAM := strings.Replace(noEntry, "%s", "md5", 1), strings.Replace(noEntry, "%s", "SCRAM", 1)
	const needPassword = "refused: failed to authenticate with backend using %s: valid password not found"
	needMD5, needSCRAM := strings.Replace(needPassword, "%s", "md5", 1), strings.Replace(needPassword, "%s", "SCRAM", 1)
	const needClear = "refused: clear text password authentication failed: unable to get the password"
	const noDecrypt = "unable to decrypt password from pool_passwd"
	const noTrust = "c refused: clear text authentication failed: " +
		"the server asks for no password, so nobody can tell whether the client's is right"
	const unfit = "c refused: clear text authentication failed: " +
		"password type stored in pool_passwd can't be used for clear text authentication"
	cache := cheapCache()
	tests := []struct {
		hba, entry                string
		clear                     bool
		trust, password, md5, scr string
	}{
		{"off", "E", false, "- ok", "c ok pool_passwd", "m ok pool_passwd", "s ok pool_passwd"},
		{"off", "E", true, "- ok", "c ok pool_passwd", "m ok pool_passwd", "s ok pool_passwd"},
		{"off", "m", false, "- ok", "c ok client", "m ok pool_passwd", "s " + needSCRAM},
		{"off", "m", true, "- ok", "c ok client", "m ok pool_passwd", "c ok client"},
		{"off", "-", false, "- ok", "c ok client", "m " + needMD5, "s " + needSCRAM},
		{"off", "-", true, "- ok", "c ok client", "c ok client", "c ok client"},
		{"off", "S", true, "- ok", unfit, "m " + needMD5, "s " + needSCRAM},
		{
			"off", "A", true, "- ok", "c refused: clear text authentication failed: " + noDecrypt,
			"m refused: md5 authentication failed: " + noDecrypt, "s refused: SCRAM authentication failed: " + noDecrypt,
		},
		{"trust", "E", false, "- ok", "- ok pool_passwd", "- ok pool_passwd", "- ok pool_passwd"},
		{"trust", "-", false, "- ok", "- " + needClear, "- " + needMD5, "- " + needSCRAM},
		{"trust", "-", true, "- ok", "c ok client", "- " + needMD5, "- " + needSCRAM},
		{"trust", "m", false, "- ok", "- " + needClear, "- ok pool_passwd", "- " + needSCRAM},
		{"password", "E", false, "c ok", "c ok pool_passwd", "c ok pool_passwd", "c ok pool_passwd"},
		{"password", "m", false, "c ok", "c ok client", "c ok pool_passwd", "c ok client"},
		{"password", "-", false, noTrust, "c ok client", "c ok client", "c ok client"},
		{"password", "S", false, unfit, unfit, unfit, unfit},
		{"md5", "E", false, "m ok", "m ok pool_passwd", "m ok pool_passwd", "m ok pool_passwd"},
		{"md5", "m", false, "m ok", "m " + needClear, "m ok pool_passwd", "m " + needSCRAM},
		{"md5", "-", true, "m " + noMD5, "m " + noMD5, "m " + noMD5, "m " + noMD5},
		{"scram-sha-256", "E", false, "s ok", "s ok pool_passwd", "s ok pool_passwd", "s ok pool_passwd"},
		{"off", "V", false, "- ok", "c ok client", "m " + needMD5, "s ok client's key"},
		{"off", "V", true, "- ok", "c ok client", "c ok client", "s ok client's key"},
		{"trust", "V", false, "- ok", "- " + needClear, "- " + needMD5, "- " + needSCRAM},
		{"password", "V", false, "c ok", "c ok client", "c ok client", "c ok client"},
		{"md5", "V", false, "s ok", "s " + needClear, "s " + needMD5, "s ok client's key"},
		{"scram-sha-256", "V", false, "s ok", "s " + needClear, "s " + needMD5, "s ok client's key"},
		{"scram-sha-256", "-", true, "s " + noSCRAM, "s " + noSCRAM, "s " + noSCRAM, "s " + noSCRAM},
	}
	entries := map[string]Entry{
		"E": ParseEntry("TEXTsecret", Key{}), "m": ParseEntry(MD5Hash("secret", testUser), Key{}), "-": {},
		"S": ParseEntry("SCRAM-SHA-256$x", Key{}), "V": serverVerifier(), "A": ParseEntry("AESxxxx", Key{}),
	}
	for _, tt := range tests {
		facts := Facts{
			User: testUser, HBA: tt.hba != "off", Rule: Rule{Method: methodNamed(tt.hba)}, Entry: entries[tt.entry],
			AllowClearText: tt.clear, Server: Unasked,
		}
		for server, want := range map[ServerMethod]string{
			ServerTrust: tt.trust, ServerPassword: tt.password, ServerMD5: tt.md5, ServerSCRAM: tt.scr,
		} {
			if got := (world{facts, server, "secret", cache}).outcome(t).String(); got != want {
				t.Errorf("hba %s, entry %s, clear %t, server %v:\n got %s\nwant %s", tt.hba, tt.entry, tt.clear, server, got, want)
			}
		}
	}
}

// With a wrong password nobody comes in where anybody asked for one.
func TestMatrixWrongPassword(t *testing.T) {
	cache := cheapCache()
	for _, hba := range []string{"off", "password", "md5", "scram-sha-256"} {
		for name, entry := range map[string]Entry{
			"E": ParseEntry("TEXTsecret", Key{}), "m": ParseEntry(MD5Hash("secret", testUser), Key{}), "-": {},
		} {
			for _, server := range []ServerMethod{ServerTrust, ServerPassword, ServerMD5, ServerSCRAM} {
				facts := Facts{
					User: testUser, HBA: hba != "off", Rule: Rule{Method: methodNamed(hba)}, Entry: entry, AllowClearText: true,
					Server: Unasked,
				}
				got := (world{facts, server, "wrong", cache}).outcome(t).String()
				if wantIn := hba == "off" && server == ServerTrust; strings.Contains(got, "ok") != wantIn {
					t.Errorf("hba %s, entry %s, server %v: %s", hba, name, server, got)
				}
			}
		}
	}
}

func TestDecideRefuses(t *testing.T) {
	_, err := Decide(Facts{User: testUser, HBA: true, Rule: Rule{Method: MethodReject}})
	wantClientError(t, err, "28000", "client authentication failed")
	_, err = Decide(Facts{User: testUser, Server: 7})
	wantClientError(t, err, "28000", "failed to authenticate with backend")
	_, _, err = Answer(Facts{User: testUser, HBA: true, Server: 7}, Identity{By: ByEntry})
	wantClientError(t, err, "28000", "failed to authenticate with backend")
	_, _, err = Answer(Facts{User: testUser, HBA: true, Server: Unasked}, Identity{By: ByEntry})
	wantClientError(t, err, "28000", "failed to authenticate with backend")
}

// Let in by a server that asks for nothing, a client does not get pool_passwd's password on one that asks.
func TestAnswerNeedsProofForEntry(t *testing.T) {
	f := Facts{User: testUser, Entry: ParseEntry("TEXTsecret", Key{}), Server: ServerMD5}
	_, _, err := Answer(f, Identity{})
	wantClientError(t, err, "28P01", `password authentication failed for user "alice"`)
}

func TestProvedBy(t *testing.T) {
	sent := Identity{sent: "secret"}
	if id := sent.ProvedBy(ServerTrust, SourceNone); id.By != ByNothing {
		t.Errorf("a server that asks nothing proves nothing: %v", id)
	}
	id := sent.ProvedBy(ServerMD5, SourceClient)
	if id.By != ByServer {
		t.Errorf("a login with the client's password is proof: %v", id)
	}
	if _, source, err := Answer(Facts{User: testUser, HBA: true, Server: ServerTrust}, id); err != nil || source != SourceNone {
		t.Errorf("then a trusting server is open too: %v %v", source, err)
	}
	if id := (Identity{By: ByEntry}).ProvedBy(ServerMD5, SourceEntry); id.By != ByEntry {
		t.Errorf("%v", id)
	}
}

func TestMayReuse(t *testing.T) {
	right, wrong := Identity{sent: "secret"}, Identity{sent: "wrong"}
	byClient := Opened{ServerSCRAM, SourceClient, NewProof("secret", NewRandom())}
	byEntry := Opened{Server: ServerSCRAM, Source: SourceEntry}
	open := Opened{Server: ServerTrust}
	text, md5 := ParseEntry("TEXTsecret", Key{}), ParseEntry(MD5Hash("secret", testUser), Key{})
	hbaOn, hbaOff := Facts{User: testUser, HBA: true}, Facts{User: testUser}
	with := func(f Facts, e Entry) Facts { f.Entry = e; return f }
	tests := []struct {
		name   string
		facts  Facts
		id     Identity
		opened Opened
		want   bool
		by     By
	}{
		{"password matches", hbaOn, right, byClient, true, ByServer},
		{"password differs", hbaOn, wrong, byClient, false, ByNothing},
		{"password, opened by entry", hbaOn, right, byEntry, false, ByNothing},
		{"password, trusting server", hbaOn, right, open, false, ByNothing},
		{"password, trusting server, hba off", hbaOff, right, open, false, ByNothing},
		{"password without proof", hbaOn, right, Opened{Server: ServerMD5, Source: SourceClient}, false, ByNothing},
		{"nothing shown, hba off", hbaOff, Identity{}, byEntry, false, ByNothing},
		{"nothing shown, hba off, by client", hbaOff, Identity{}, byClient, false, ByNothing},
		{"nothing asked, trusting server", hbaOff, Identity{}, open, true, ByNothing},
		{"nothing shown, hba on", hbaOn, Identity{}, open, false, ByNothing},
		{"entry shown", hbaOn, Identity{By: ByEntry}, byClient, true, ByEntry},
		{"entry shown, wrong for proof", hbaOn, Identity{By: ByEntry, sent: "x"}, byClient, true, ByEntry},
		{"trust, other's password", hbaOn, Identity{By: ByTrust}, byClient, false, ByTrust},
		{"trust with entry", with(hbaOn, text), Identity{By: ByTrust}, byClient, true, ByTrust},
		{"trust with md5 entry", with(hbaOn, md5), Identity{By: ByTrust}, byEntry, false, ByTrust},
		{"trust, trusting server", hbaOn, Identity{By: ByTrust}, open, true, ByTrust},
		{"proved by another server", hbaOn, Identity{By: ByServer, sent: "x"}, byClient, false, ByServer},
		{"proved, trusting server", hbaOn, Identity{By: ByServer, sent: "x"}, open, true, ByServer},
	}
	for _, tt := range tests {
		id, ok := MayReuse(tt.facts, tt.id, tt.opened)
		if ok != tt.want || id.By != tt.by {
			t.Errorf("%s: %t %v, want %t", tt.name, ok, id, tt.want)
		}
	}
}

func TestRefusalText(t *testing.T) {
	err := Refusal(Client{Local: true}, "db", testUser, Reason{})
	want := `no pool_hba.conf entry for host "[local]", user "alice", database "db", SSL off`
	if err.SQLState() != "28000" || err.Detail != want || err.Hint != "see pgpool log for details" {
		t.Errorf("%+v", err)
	}
	var e *Error
	if !errors.As(error(err), &e) || !strings.Contains(e.Error(), "no record matches") {
		t.Errorf("%v", e)
	}
}
