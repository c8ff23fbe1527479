package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

var testBinding = []byte("hash of a certificate")

// Whoever binds its channel gets in over the same connection only; whoever cannot, unbound.
func TestChannelBinding(t *testing.T) {
	tests := []struct {
		name           string
		server, client []byte // binding data
		mechanism      string // that the client chooses
		first          string // its first message begins so
		ok             bool
	}{
		{"both on TLS", testBinding, testBinding, scramSHA256Plus, "p=tls-server-end-point,,", true},
		{"no TLS", nil, nil, scramSHA256, "n,,", true},
		{"client cannot bind", testBinding, nil, scramSHA256, "n,,", true},
		{"server does not offer", nil, testBinding, scramSHA256, "y,,", true},
		{"another certificate", testBinding, []byte("hash of another one"), scramSHA256Plus, "p=tls-server-end-point,,", false},
		{"part of the hash", testBinding, testBinding[:5], scramSHA256Plus, "p=tls-server-end-point,,", false},
		{"more than the hash", testBinding, []byte(string(testBinding) + "x"), scramSHA256Plus, "p=tls-server-end-point,,", false},
	}
	credentials := map[string]Credential{
		"password": PasswordCredential("user", "pencil"), "key": {user: "user", key: rfcKey(t)},
	}
	for _, tt := range tests {
		for by, credential := range credentials {
			party := Party{
				User: "user", Entry: ParseEntry(rfcVerifier, Key{}), Cache: testCache(), Random: NewRandom(), Binding: tt.server,
			}
			acceptor, login := NewAcceptor(planFor(AskSCRAM), party), NewLogin(credential, testCache(), tt.client)
			serverErr, clientErr := converse(t, acceptor, login)
			if clientErr != nil || (serverErr == nil) != tt.ok {
				t.Errorf("%s, by %s: server %v, client %v", tt.name, by, serverErr, clientErr)
			}
			if login.scram.mechanism != tt.mechanism || !strings.HasPrefix(login.scram.first, tt.first) {
				t.Errorf("%s, by %s: %s, %q", tt.name, by, login.scram.mechanism, login.scram.first)
			}
			if serverErr != nil {
				wantClientError(t, serverErr, "28000", "SCRAM channel binding check failed")
			}
		}
	}
}

// A login to a server that offers nothing but PLUS needs a connection that can be bound.
func TestPlusOnly(t *testing.T) {
	offer := []byte("SCRAM-SHA-256-PLUS\x00\x00")
	if _, err := NewLogin(PasswordCredential(testUser, "secret"), testCache(), nil).Next(10, offer); err == nil {
		t.Error("PLUS without TLS")
	}
	if _, err := NewLogin(PasswordCredential(testUser, "secret"), testCache(), testBinding).Next(10, offer); err != nil {
		t.Error(err)
	}
}

func TestOffer(t *testing.T) {
	for offer, binding := range map[string][]byte{
		"SCRAM-SHA-256\x00\x00": nil, "SCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00": testBinding,
	} {
		a := NewAcceptor(planFor(AskSCRAM), Party{User: testUser, Cache: testCache(), Binding: binding})
		if step, err := a.Start(); err != nil || step.Code != 10 || string(step.Body) != offer {
			t.Errorf("%q %v, want %q", step.Body, err, offer)
		}
	}
}

// Flag, mechanism and offer have to agree (RFC 5802, section 6).
func TestChannelBindingNegotiation(t *testing.T) {
	const nonce = ",n=,r=x"
	tests := []struct {
		name, mechanism, first string
		binding                []byte
		state                  string // "": goes on
	}{
		{"offer was taken away", scramSHA256, "y," + nonce, testBinding, "28000"},
		{"no offer seen, none made", scramSHA256, "y," + nonce, nil, ""},
		{"cannot", scramSHA256, "n," + nonce, testBinding, ""},
		{"binds", scramSHA256Plus, "p=tls-server-end-point," + nonce, testBinding, ""},
		{"PLUS without TLS", scramSHA256Plus, "p=tls-server-end-point," + nonce, nil, "08P01"},
		{"binds without TLS", scramSHA256, "p=tls-server-end-point," + nonce, nil, "08P01"},
		{"binds without PLUS", scramSHA256, "p=tls-server-end-point," + nonce, testBinding, "08P01"},
		{"PLUS, cannot", scramSHA256Plus, "n," + nonce, testBinding, "08P01"},
		{"PLUS, no offer seen", scramSHA256Plus, "y," + nonce, testBinding, "08P01"},
		{"other binding", scramSHA256Plus, "p=tls-unique," + nonce, testBinding, "08P01"},
		{"no binding named", scramSHA256Plus, "p=," + nonce, testBinding, "08P01"},
		{"p alone", scramSHA256Plus, "p," + nonce, testBinding, "08P01"},
		{"capital", scramSHA256, "N," + nonce, testBinding, "08P01"},
		{"authzid", scramSHA256Plus, "p=tls-server-end-point,a=root" + nonce, testBinding, "08P01"},
	}
	for _, tt := range tests {
		a := NewAcceptor(planFor(AskSCRAM), Party{User: testUser, Cache: testCache(), Random: NewRandom(), Binding: tt.binding})
		_, err := a.Next(initialResponse(tt.mechanism, tt.first))
		var e *Error
		if tt.state == "" && err != nil || tt.state != "" && (!errors.As(err, &e) || e.SQLState() != tt.state) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.state)
		}
		if tt.name == "other binding" && !strings.Contains(e.Detail, "channel-binding type") {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil {
			if _, err := a.Next([]byte("c=biws,r=x,p=AAAA")); err == nil {
				t.Errorf("%s: goes on after the refusal", tt.name)
			}
		}
	}
}

// c= carries the header and the data, and nothing else: with the right proof for what it says, the wrong data do not pass.
func TestChannelBindingData(t *testing.T) {
	bind := func(header string, data []byte) string {
		return base64.StdEncoding.EncodeToString(append([]byte(header), data...))
	}
	const plusHeader = "p=tls-server-end-point,,"
	tests := []struct {
		name, header, says string
		ok                 bool
	}{
		{"right", plusHeader, bind(plusHeader, testBinding), true},
		{"no data", plusHeader, bind(plusHeader, nil), false},
		{"no header", plusHeader, bind("", testBinding), false},
		{"other header", plusHeader, bind("n,,", testBinding), false},
		{"other data", plusHeader, bind(plusHeader, []byte("x")), false},
		{"nothing", plusHeader, "", false},
		{"unbound", "n,,", "biws", true},
		{"unbound, y said later", "n,,", "eSws", false},
		{"unbound, with data", "n,,", bind("n,,", testBinding), false},
	}
	for _, tt := range tests {
		a := rfcAcceptor(t)
		a.party.Binding = testBinding
		mechanism := scramSHA256
		if tt.header == plusHeader {
			mechanism = scramSHA256Plus
		}
		bare := "n=user,r=" + rfcClientNonce
		if _, err := a.Next(initialResponse(mechanism, tt.header+bare)); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		final := "c=" + tt.says + ",r=" + rfcClientNonce + rfcServerNonce
		proof, _ := rfcKey(t).proof(bare + "," + rfcServerFirst + "," + final)
		step, err := a.Next([]byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)))
		if (err == nil && step.Done) != tt.ok {
			t.Errorf("%s: %+v %v", tt.name, step, err)
		}
	}
}
