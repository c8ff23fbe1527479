package auth

import (
	"errors"
	"testing"
)

// Who comes by certificate or as a user of the system, and what certificates are asked for beside other methods.
func TestDecideWithoutPassword(t *testing.T) {
	verified := ClientCert{Presented: true, Verified: true, CN: testUser, DN: "CN=alice,O=x"}
	cert := func(change func(f *Facts)) Facts {
		f := Facts{User: testUser, HBA: true, TLS: true, Cert: verified, Server: Unasked, Rule: Rule{Method: MethodCert}}
		change(&f)
		return f
	}
	peer := func(name string) Facts {
		return Facts{User: testUser, HBA: true, Peer: name, Server: Unasked, Rule: Rule{Method: MethodPeer}}
	}
	withCert := func(check ClientCertCheck, change func(f *Facts)) Facts {
		return cert(func(f *Facts) {
			f.Rule = Rule{Method: MethodTrust, ClientCert: check}
			change(f)
		})
	}
	nothing := func(*Facts) {}
	const refusedCert = `certificate authentication failed for user "alice"`
	const required = "connection requires a valid client certificate"
	tests := []struct {
		name  string
		facts Facts
		want  string // "": in
	}{
		{"certificate", cert(nothing), ""},
		{"no TLS", cert(func(f *Facts) { f.TLS = false }), refusedCert},
		{"none", cert(func(f *Facts) { f.Cert = ClientCert{} }), refusedCert},
		{"not verified", cert(func(f *Facts) { f.Cert.Verified = false }), refusedCert},
		{"not presented", cert(func(f *Facts) { f.Cert.Presented = false }), refusedCert},
		{"somebody else's", cert(func(f *Facts) { f.Cert.CN = "bob" }), refusedCert},
		{"other case", cert(func(f *Facts) { f.Cert.CN = "Alice" }), refusedCert},
		{"begins like it", cert(func(f *Facts) { f.Cert.CN = "alice2" }), refusedCert},
		{"zero byte", cert(func(f *Facts) { f.Cert.CN = "alice\x00.example.com" }), refusedCert},
		{
			"zero byte, whatever a map says", cert(func(f *Facts) { f.Cert.CN, f.User = "a\x00b", "a\x00b" }),
			"certificate authentication failed for user \"a\x00b\"",
		},
		{"no name", cert(func(f *Facts) { f.Cert.CN = "" }), refusedCert},
		{"no name, no user", cert(func(f *Facts) { f.Cert.CN, f.User = "", "" }), `certificate authentication failed for user ""`},
		{"map that is not there", cert(func(f *Facts) { f.Rule.Map = "m" }), refusedCert},
		{"name is the DN, not the CN", cert(func(f *Facts) { f.Rule.ClientName = ClientNameDN }), refusedCert},
		{"DN", cert(func(f *Facts) { f.Rule.ClientName, f.User = ClientNameDN, "CN=alice,O=x" }), ""},
		{"peer", peer(testUser), ""},
		{"other peer", peer("bob"), `Peer authentication failed for user "alice"`},
		{"no peer", peer(""), `Peer authentication failed for user "alice"`},
		{"trust, verify-ca", withCert(ClientCertVerifyCA, nothing), ""},
		{"trust, verify-ca, somebody", withCert(ClientCertVerifyCA, func(f *Facts) { f.Cert.CN = "bob" }), ""},
		{"trust, verify-ca, none", withCert(ClientCertVerifyCA, func(f *Facts) { f.Cert = ClientCert{} }), required},
		{"trust, verify-ca, not verified", withCert(ClientCertVerifyCA, func(f *Facts) { f.Cert.Verified = false }), required},
		{"trust, verify-ca, no TLS", withCert(ClientCertVerifyCA, func(f *Facts) { f.TLS = false }), required},
		{"trust, verify-full", withCert(ClientCertVerifyFull, nothing), ""},
		{"trust, verify-full, somebody", withCert(ClientCertVerifyFull, func(f *Facts) { f.Cert.CN = "bob" }), refusedCert},
		{"trust, verify-full, none", withCert(ClientCertVerifyFull, func(f *Facts) { f.Cert = ClientCert{} }), required},
		{"trust, certificate not asked for", withCert(ClientCertNone, func(f *Facts) { f.Cert = ClientCert{} }), ""},
		{"reject", cert(func(f *Facts) { f.Rule = Rule{Method: MethodReject, ClientCert: ClientCertVerifyFull} }), "client authentication failed"},
		{"no method", cert(func(f *Facts) { f.Rule = Rule{} }), "client authentication failed"},
	}
	for _, tt := range tests {
		plan, err := Decide(tt.facts)
		if tt.want != "" {
			var e *Error
			if !errors.As(err, &e) || e.ClientMessage != tt.want || e.SQLSTATE != stateInvalidAuth || e.Detail != "" {
				t.Errorf("%s: %+v, want %q", tt.name, err, tt.want)
			}
			continue
		}
		by := map[Method]By{MethodTrust: ByTrust, MethodCert: ByOther, MethodPeer: ByOther}[tt.facts.Rule.Method]
		if err != nil || plan.Ask != AskNothing || plan.NeedServer || plan.Unasked.By != by {
			t.Errorf("%s: %+v %v", tt.name, plan, err)
		}
	}
}

// Certificates that a record asks for come before the password, whatever its method.
func TestCertificateBesidePassword(t *testing.T) {
	for _, method := range []Method{MethodPassword, MethodMD5, MethodSCRAM, MethodLDAP, MethodPAM, MethodTrust, MethodPeer} {
		f := Facts{
			User: testUser, HBA: true, TLS: true, Server: Unasked, Entry: ParseEntry("secret", Key{}), Peer: testUser,
			Rule: Rule{Method: method, ClientCert: ClientCertVerifyFull},
		}
		if _, err := Decide(f); err == nil {
			t.Errorf("%v: no certificate", method)
		}
		f.Cert = ClientCert{Presented: true, Verified: true, CN: testUser}
		if plan, err := Decide(f); err != nil {
			t.Errorf("%v: %+v %v", method, plan, err)
		}
	}
}

// LDAP and PAM are asked off the loop, never about an empty password, and what they approve is kept only where it may be.
func TestOutsideJudges(t *testing.T) {
	own := &Error{ClientMessage: "own", SQLSTATE: "28000"}
	tests := []struct {
		name     string
		rule     Rule
		clear    bool
		password string
		answer   error
		want     string // the refusal
		asked    bool
		kept     bool
	}{
		{"LDAP", Rule{Method: MethodLDAP}, false, "secret", nil, "", true, false},
		{"LDAP, kept", Rule{Method: MethodLDAP, LDAP: LDAPOptions{BackendUsePasswd: true}}, false, "secret", nil, "", true, true},
		{"LDAP, clear text allowed", Rule{Method: MethodLDAP}, true, "secret", nil, "", true, true},
		{"PAM", Rule{Method: MethodPAM}, false, "secret", nil, "", true, false},
		{"PAM, clear text allowed", Rule{Method: MethodPAM}, true, "secret", nil, "", true, false},
		{"PAM with an option of LDAP", Rule{Method: MethodPAM, LDAP: LDAPOptions{BackendUsePasswd: true}}, false, "secret", nil, "", true, false},
		{
			"LDAP, wrong",
			Rule{Method: MethodLDAP},
			true, "secret", errors.New("no such object"),
			`password authentication failed for user "alice"`, true, false,
		},
		{
			"PAM, wrong",
			Rule{Method: MethodPAM},
			true, "secret", errors.New("no such user"),
			`password authentication failed for user "alice"`, true, false,
		},
		{"own refusal", Rule{Method: MethodPAM}, true, "secret", own, "own", true, false},
		{"empty", Rule{Method: MethodLDAP}, true, "", nil, `password authentication failed for user "alice"`, false, false},
		{"empty, PAM", Rule{Method: MethodPAM}, true, "", nil, `password authentication failed for user "alice"`, false, false},
	}
	for _, tt := range tests {
		plan, err := Decide(Facts{User: testUser, HBA: true, Rule: tt.rule, AllowClearText: tt.clear, Server: Unasked})
		if err != nil || plan.Ask != AskCleartext || plan.Judge != JudgeOutside {
			t.Fatalf("%s: %+v %v", tt.name, plan, err)
		}
		var asked []string
		check := func(password string) error {
			asked = append(asked, password)
			return tt.answer
		}
		a := NewAcceptor(plan, Party{User: testUser, Cache: testCache(), Check: check})
		step, err := a.Next([]byte(tt.password + "\x00"))
		if len(asked) != 0 {
			t.Errorf("%s: asked on the loop", tt.name)
		}
		_, err = workOff(a, step, err)
		if (len(asked) == 1 && asked[0] == tt.password) != tt.asked {
			t.Errorf("%s: asked about %q", tt.name, asked)
		}
		if tt.want != "" {
			var e *Error
			if !errors.As(err, &e) || e.ClientMessage != tt.want || e.Detail+e.Hint != "" {
				t.Errorf("%s: %+v", tt.name, err)
			}
			continue
		}
		id := a.Identity()
		if _, kept := id.Sent(); err != nil || id.By != ByOther || kept != tt.kept {
			t.Errorf("%s: %v, %v, password kept: %t", tt.name, err, id, kept)
		}
	}
}

// A plan that leaves the judgement to nobody lets nobody in.
func TestNobodyToAsk(t *testing.T) {
	a := NewAcceptor(Plan{Ask: AskCleartext, Judge: JudgeOutside, method: MethodLDAP}, Party{User: testUser, Cache: testCache()})
	step, err := a.Next([]byte("secret\x00"))
	_, err = workOff(a, step, err)
	wantClientError(t, err, "28P01", `password authentication failed for user "alice"`)
}

// Under md5 a user with a verifier is asked for SCRAM, and so are users without an entry where verifiers are the rule.
func TestDecideMD5(t *testing.T) {
	verifiers, unusable := serverVerifier(), ParseEntry("SCRAM-SHA-256$x", Key{})
	tests := []struct {
		entry     Entry
		verifiers bool
		want      Ask
	}{
		{Entry{}, false, AskMD5},
		{Entry{}, true, AskSCRAM},
		{verifiers, false, AskSCRAM},
		{verifiers, true, AskSCRAM},
		{unusable, false, AskSCRAM},
		{unusable, true, AskSCRAM},
		{ParseEntry("TEXTsecret", Key{}), true, AskMD5},
		{ParseEntry(MD5Hash("secret", testUser), Key{}), true, AskMD5},
	}
	for _, tt := range tests {
		plan, err := Decide(Facts{User: testUser, HBA: true, Rule: Rule{Method: MethodMD5}, Entry: tt.entry, Verifiers: tt.verifiers})
		if err != nil || plan.Ask != tt.want {
			t.Errorf("%v, %t: %+v %v", tt.entry, tt.verifiers, plan, err)
		}
	}
}

// Our own certificate lets no client ride on it.
func TestOwnCertificate(t *testing.T) {
	if m := ServerTrust.ByOwnCert(); m != ServerCert || !m.Supported() {
		t.Error(m)
	}
	if m := ServerSCRAM.ByOwnCert(); m != ServerSCRAM {
		t.Error(m)
	}
	f := Facts{User: testUser, Server: ServerCert}
	_, err := Decide(f)
	wantClientError(t, err, "28000", "client authentication failed")
	_, _, err = Answer(f, Identity{})
	wantClientError(t, err, "28000", "client authentication failed")
	_, _, err = Answer(f, Identity{sent: "x"})
	wantClientError(t, err, "28P01", `password authentication failed for user "alice"`)
	if _, ok := MayReuse(f, Identity{}, Opened{Server: ServerCert}); ok {
		t.Error("an idle connection that our certificate has opened serves anybody")
	}
	if id := (Identity{sent: "x"}).ProvedBy(ServerCert, SourceClient); id.By != ByNothing {
		t.Error("a server that asked for nothing proves a password")
	}
}

// Maps let names in that are not the user's own, for certificates and for users of the system alike.
func TestDecideByMap(t *testing.T) {
	text := "m /^(.*)@example\\.com$ \\1\nm root alice\nteam wendy +staff\n"
	idents, errs := ParseIdent("pool_ident.conf", []byte(text), Files{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	tests := []struct {
		mapName, name string
		roles         []string
		ok            bool
	}{
		{"", testUser, nil, true},
		{"", "root", nil, false},
		{"m", "root", nil, true},
		{"m", "alice@example.com", nil, true},
		{"m", "bob@example.com", nil, false},
		{"m", "alice@example.com\x00", nil, false},
		{"m", testUser, nil, false},
		{"other", "root", nil, false},
		{"team", "wendy", nil, false},
		{"team", "wendy", []string{testUser, "staff"}, true},
		{"team", testUser, []string{testUser, "staff"}, false},
	}
	for _, tt := range tests {
		for _, rule := range []Rule{
			{Method: MethodCert, Map: tt.mapName},
			{Method: MethodPeer, Map: tt.mapName},
			{Method: MethodTrust, ClientCert: ClientCertVerifyFull, Map: tt.mapName},
		} {
			_, err := Decide(Facts{
				User: testUser, HBA: true, TLS: true, Server: Unasked, Idents: idents, Roles: tt.roles, Rule: rule,
				Cert: ClientCert{Presented: true, Verified: true, CN: tt.name}, Peer: tt.name,
			})
			if (err == nil) != tt.ok {
				t.Errorf("%v, map %q: %q: %v", rule.Method, tt.mapName, tt.name, err)
			}
		}
	}
}
