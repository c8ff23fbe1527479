package lifecheck

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
)

// certificate makes a certificate that vouches for itself, with its key.
func certificate(t *testing.T) (certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret)
}

// Manual: wd_lifecheck_user logs in to the pgpool ports of all nodes, by whatever method and with or without TLS as they ask.
func TestLogin(t *testing.T) {
	cert, key := certificate(t)
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1})
	program := pgcluster.BuildProgram(t, c.Dir, "pgpool")
	if err := c.Nodes[0].Exec(t.Context(), "CREATE ROLE life LOGIN"); err != nil {
		t.Fatal(err)
	}
	rule := func(kind, database, method string) string {
		return kind + " " + database + " life all " + method + "\n"
	}
	rules := rule("hostssl", "template1", "scram-sha-256") + rule("hostnossl", "postgres", "scram-sha-256")
	for tls, methods := range map[string][]string{
		"on":  {"trust", "password", "md5", "scram-sha-256", "hostssl", "hostnossl"},
		"off": {"scram-sha-256", "hostssl"},
	} {
		for _, method := range methods {
			t.Run("ssl = "+tls+", "+method, func(t *testing.T) {
				t.Parallel()
				hba, database := rule("host", "all", method), "postgres"
				switch method {
				case "hostssl":
					hba, database = rules, "template1"
				case "hostnossl":
					hba = rules
				}
				p := c.TestPgpool(t, pgcluster.PgpoolOptions{
					Binary: program,
					Conf:   map[string]string{"enable_pool_hba": "on", "ssl": tls, "ssl_cert": "p.crt", "ssl_key": "p.key", "auth_delay": "0"},
					Files:  map[string]string{"p.crt": cert, "p.key": key},
					HBA:    hba, Passwd: "life:TEXTsecret\n", Env: []string{"GORACE=atexit_sleep_ms=0"},
				})
				ask := func(password string) error {
					q := Question{SQL: "SELECT 1", User: "life", Database: database, ConnectTime: patience}
					q.Password = func() (string, error) { return password, nil }
					return q.ask(t.Context(), Node{ID: 1, Host: p.Host, Port: p.Port}, 10*time.Second)
				}
				fits := tls == "on" || method != "hostssl"
				if err := ask("secret"); (err == nil) != fits {
					t.Errorf("%v", err)
				}
				if err := ask("wrong"); err == nil && method != "trust" {
					t.Error("a wrong password lets in")
				} else if err != nil && strings.Contains(err.Error(), "wrong") {
					t.Errorf("the password is told: %v", err)
				}
			})
		}
	}
}
