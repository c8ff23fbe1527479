package auth

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// combination is one row of the table of sources: how the client is asked for, and what is stored of the user.
type combination struct {
	method string // with its option
	entry  string
	clear  bool // allow_clear_text_frontend_auth
}

var (
	tableMethods = []string{
		"off", "trust", "password", "md5", "scram-sha-256", "cert", "peer", "ldap", "ldap backend_use_passwd=1", "pam",
	}
	tableEntries = []string{"none", "TEXT, AES", "md5", "verifier", "unusable"}
	tableServers = []ServerMethod{ServerTrust, ServerCert, ServerPassword, ServerMD5, ServerSCRAM}
)

// facts are a client's that has shown all it could but its password.
func (c combination) facts(t testing.TB) Facts {
	method, option, _ := strings.Cut(c.method, " ")
	entries := map[string]Entry{
		"none": {}, "TEXT, AES": ParseEntry("TEXTsecret", Key{}), "md5": ParseEntry(MD5Hash("secret", testUser), Key{}),
		"verifier": serverVerifier(), "unusable": ParseEntry("SCRAM-SHA-256$x", Key{}),
	}
	entry, ok := entries[c.entry]
	if !ok || method != "off" && methodNamed(method) == 0 {
		t.Fatalf("%+v", c)
	}
	rule := Rule{Method: methodNamed(method), LDAP: LDAPOptions{BackendUsePasswd: option != ""}}
	return Facts{
		User: testUser, HBA: method != "off", Rule: rule, Entry: entry, AllowClearText: c.clear, Server: Unasked,
		TLS: true, Cert: ClientCert{Presented: true, Verified: true, CN: testUser}, Peer: testUser,
	}
}

// needsPassword: the method asks the client itself for one.
func (c combination) needsPassword() bool {
	switch c.method {
	case "off", "trust", "cert", "peer":
		return false
	}
	return true
}

func (c combination) cell(t *testing.T, cache *Cache, server ServerMethod) string {
	j := world{c.facts(t), server, "secret", cache}.outcome(t)
	asked := map[string]string{"": "", "-": "", "c": "c ", "m": "m ", "s": "s "}[j.asked]
	switch {
	case j.refused != nil:
		return asked + "refused"
	case j.opened.Source == SourceNone:
		return asked + "in"
	case j.opened.Source == SourceEntry:
		return asked + "entry"
	}
	return asked + j.opened.Source.String()
}

func (c combination) cells(t *testing.T, cache *Cache) string {
	var cells []string
	for _, server := range tableServers {
		cells = append(cells, c.cell(t, cache, server))
	}
	return strings.Join(cells, " | ")
}

const tableHead = `Towards a server that asks for a password these are tried, in this order:

1. the user's entry in pool_passwd, else what auth_query finds: a password serves everywhere, an md5 hash where the server asks for md5;
2. the client's key, if the entry is the server's SCRAM verifier, the client was checked against it by SCRAM, and the server asks for SCRAM;
3. the password that the client has sent in clear: to the method password, to ldap with backend_use_passwd=1 (or allow_clear_text_frontend_auth),
   or because allow_clear_text_frontend_auth is on.

What comes of it is in the table. The client is asked for its password in clear (c), by md5 (m), by SCRAM (s), or for nothing (no letter).
Then "entry", "client's key" and "client" name what the server is told, "in" says that it asks for nothing. A "certificate" is pgpool's own, shown
to a server which then asks for nothing. "Unusable" is an entry that cannot be decrypted or read.

| client | entry | clear text allowed | server: trust | certificate | password | md5 | SCRAM |
|---|---|---|---|---|---|---|---|
`

// The table of the manual is what the code does. Rows that do not depend on allow_clear_text_frontend_auth are one.
func TestSourcesTable(t *testing.T) {
	cache := cheapCache()
	var b strings.Builder
	b.WriteString(tableHead)
	for _, method := range tableMethods {
		for _, entry := range tableEntries {
			no, yes := combination{method, entry, false}.cells(t, cache), combination{method, entry, true}.cells(t, cache)
			if no == yes {
				fmt.Fprintf(&b, "| %s | %s | any | %s |\n", method, entry, no)
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | no | %s |\n| %s | %s | yes | %s |\n", method, entry, no, method, entry, yes)
		}
	}
	file := filepath.Join("testdata", "sources.md")
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != b.String() {
		t.Errorf("%s differs (-update writes it):\n%s", file, b.String())
	}
}

func everyCombination(f func(c combination, server ServerMethod)) {
	for _, method := range tableMethods {
		for _, entry := range tableEntries {
			for _, clear := range []bool{false, true} {
				for _, server := range tableServers {
					f(combination{method, entry, clear}, server)
				}
			}
		}
	}
}

// A wrong password and an empty one get nobody in, wherever a password is asked for; refusals after a challenge read alike.
func TestNobodyGetsInWrongly(t *testing.T) {
	cache := cheapCache()
	everyCombination(func(c combination, server ServerMethod) {
		for _, sends := range []string{"wrong", ""} {
			j := world{c.facts(t), server, sends, cache}.outcome(t)
			if (c.needsPassword() || j.asked != "" && j.asked != "-") && j.refused == nil {
				t.Errorf("%+v, server %v: %q gets in: %v", c, server, sends, j)
			}
			var e *Error
			if errors.As(j.refused, &e) && j.asked != "" && j.asked != "-" && sends != "" && j.id == (Identity{}) &&
				e.ClientMessage+e.Detail+e.Hint != `password authentication failed for user "alice"` {
				t.Errorf("%+v, server %v: refused otherwise than a wrong password: %+v", c, server, e)
			}
		}
	})
}

// A stranger is somebody who cannot show anything: no password, certificate or system user.
func TestStrangersStayOutside(t *testing.T) {
	cache := cheapCache()
	everyCombination(func(c combination, server ServerMethod) {
		if c.method == "trust" {
			return
		}
		f := c.facts(t)
		f.Cert, f.Peer, f.TLS = ClientCert{Presented: true, CN: testUser}, "", false
		j := world{f, server, "wrong", cache}.outcome(t)
		if open := c.method == "off" && server == ServerTrust; (j.refused == nil) != open {
			t.Errorf("%+v, server %v: %v", c, server, j)
		}
	})
}

// Idle connections: whoever has not shown that it is the user gets none that it could not open itself, whoever has opened
// it. For each way a connection is opened, every client with a wrong password tries to get it.
func TestReuseSkipsNoProof(t *testing.T) {
	cache := cheapCache()
	var idle []Opened
	everyCombination(func(c combination, server ServerMethod) {
		if j := (world{c.facts(t), server, "secret", cache}).outcome(t); j.refused == nil {
			idle = append(idle, j.opened)
		}
	})
	if len(idle) < 100 {
		t.Fatalf("only %d connections", len(idle))
	}
	kinds := map[string]Opened{}
	for _, o := range idle {
		kinds[fmt.Sprint(o.Server, o.Source)] = o
	}
	ids := []Identity{
		{}, {sent: "wrong"}, {By: ByTrust}, {By: ByServer, sent: "wrong"}, {By: ByOther}, {By: ByOther, sent: "wrong"},
	}
	everyCombination(func(c combination, _ ServerMethod) {
		f := c.facts(t)
		for name, o := range kinds {
			for _, id := range ids {
				f.Server = o.Server
				proved, ok := MayReuse(f, id, o)
				if !ok {
					continue
				}
				_, source, err := Answer(f, id)
				if err != nil || source == SourceClient {
					t.Errorf("%+v: %v uses a connection it could not open (%s): %v %v", c, id, name, source, err)
				}
				if (id.By == ByNothing) && (o.Server != ServerTrust || f.HBA) || proved != id {
					t.Errorf("%+v: %v uses %s as %v", c, id, name, proved)
				}
			}
		}
	})
}
