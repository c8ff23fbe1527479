package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/tlsconf"
)

// files are what the program openssl has made in a directory.
type files string

func (f files) openssl(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = string(f)
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		t.Skip("the program openssl is not there: ", err)
	case err != nil:
		t.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
}

func (f files) path(name string) string { return filepath.Join(string(f), name) }

func (f files) read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(f.path(name))
	ok(t, err)
	return string(b)
}

// authority makes name.crt, which may issue others.
func (f files) authority(t *testing.T, name string) {
	t.Helper()
	f.openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN="+name,
		"-addext", "keyUsage=keyCertSign,cRLSign", "-keyout", name+".key", "-out", name+".crt")
}

// issue makes name.crt of an authority.
func (f files) issue(t *testing.T, ca, name, extension string) {
	t.Helper()
	f.openssl(t, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN="+name,
		"-keyout", name+".key", "-out", name+".csr")
	ok(t, os.WriteFile(f.path(name+".ext"), []byte(extension), 0o600))
	f.openssl(t, "x509", "-req", "-in", name+".csr", "-CA", ca+".crt", "-CAkey", ca+".key", "-CAcreateserial",
		"-extfile", name+".ext", "-out", name+".crt")
}

// methodsHBA has a user for each method and each kind of connection.
const methodsHBA = `host all md5_user all md5
host all pw_user all password
host all trust_user all trust
hostssl all cert_user all cert
hostssl all tls_user all scram-sha-256
hostnossl all plain_user all scram-sha-256
host all tls_user,plain_user,cert_user all reject
`

// encrypted starts a server with TLS and those users; their password is the usual one.
func encrypted(t *testing.T) (cluster.Node, files) {
	t.Helper()
	f := files(t.TempDir())
	f.authority(t, "root")
	f.authority(t, "stranger")
	f.issue(t, "root", "server", "subjectAltName=IP:127.0.0.1\n")
	f.issue(t, "root", "cert_user", "extendedKeyUsage=clientAuth\n")
	c, err := pgcluster.New(pgcluster.Options{
		Nodes: 1, Auth: "scram-sha-256", Password: password, HBA: methodsHBA,
		Config: map[string]string{"ssl": "on", "ssl_cert_file": "../server.crt", "ssl_key_file": "../server.key", "ssl_ca_file": "../root.crt"},
	})
	if errors.Is(err, pgcluster.ErrNoServer) {
		t.Skip(err)
	}
	ok(t, err)
	t.Cleanup(func() { ok(t, c.Close()) })
	for _, name := range []string{"server.crt", "server.key", "root.crt"} {
		ok(t, c.WriteFile(name, f.read(t, name), 0o600))
	}
	ok(t, c.Build(t.Context()))
	admin, err := c.Nodes[0].Connect(t.Context())
	ok(t, err)
	defer func() { _ = admin.Close(t.Context()) }()
	statements := []string{"SET password_encryption = md5", "CREATE ROLE md5_user LOGIN PASSWORD 's3cret'", "RESET password_encryption"}
	for _, u := range []string{"pw_user", "trust_user", "cert_user", "tls_user", "plain_user"} {
		statements = append(statements, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 's3cret'", u))
	}
	for _, sql := range statements {
		_, err := admin.Exec(t.Context(), sql)
		ok(t, err)
	}
	return nodeOf(0, c.Nodes[0]), f
}

// prober asks by a password and in a mode.
func probing(t *testing.T, entry auth.Entry, server tlsconf.Server) *Prober {
	t.Helper()
	p, err := NewProber(func(string, string) (auth.Entry, error) { return entry, nil },
		func(cluster.NodeID, string) tlsconf.Server { return server })
	ok(t, err)
	return p
}

// Manual: the password of an own user is in clear, encrypted, or an md5 hash; a hash serves for md5 only.
func TestPasswordsAndTLSOfProbes(t *testing.T) {
	node, f := encrypted(t)
	entry := func(field string) auth.Entry { return auth.ParseEntry(field, auth.Key{}) }
	clear, none := entry(password), auth.Entry{}
	hash := entry(auth.MD5Hash(password, "md5_user"))
	const disable, allow, prefer = conf.SSLModeDisable, conf.SSLModeAllow, conf.SSLModePrefer
	const require, ca, full = conf.SSLModeRequire, conf.SSLModeVerifyCA, conf.SSLModeVerifyFull
	for _, c := range []struct {
		name  string
		user  string
		entry auth.Entry
		mode  conf.SSLMode
		node  conf.NodeTLS // but for its mode
		want  string       // in the error; "" for none
	}{
		{"scram", "postgres", clear, disable, conf.NodeTLS{}, ""},
		{"md5", "md5_user", clear, disable, conf.NodeTLS{}, ""},
		{"md5 by hash", "md5_user", hash, disable, conf.NodeTLS{}, ""},
		{"md5 by hash, TLS", "md5_user", hash, require, conf.NodeTLS{}, ""},
		{"md5 by another hash", "md5_user", entry(auth.MD5Hash("x", "md5_user")), disable, conf.NodeTLS{}, "28P01"},
		{"password", "pw_user", clear, disable, conf.NodeTLS{}, ""},
		{"password, TLS", "pw_user", clear, require, conf.NodeTLS{}, ""},
		{"password by hash", "pw_user", hash, disable, conf.NodeTLS{}, "stored as md5"},
		{"scram by hash", "postgres", hash, disable, conf.NodeTLS{}, "stored as md5"},
		{"trust by hash", "trust_user", hash, disable, conf.NodeTLS{}, ""},
		{"trust without", "trust_user", none, disable, conf.NodeTLS{}, ""},
		{"trust, undecryptable", "trust_user", entry("AESAAAA"), disable, conf.NodeTLS{}, ""},
		{"scram, undecryptable", "postgres", entry("AESAAAA"), disable, conf.NodeTLS{}, errUndecryptable.Error()},
		{"scram without", "postgres", none, disable, conf.NodeTLS{}, "28P01"},
		{"scram, wrong", "postgres", entry("wrong"), disable, conf.NodeTLS{}, "28P01"},
		{"scram, wrong, TLS", "postgres", entry("wrong"), prefer, conf.NodeTLS{}, "28P01"},
		{"allow, plain wanted", "plain_user", clear, allow, conf.NodeTLS{}, ""},
		{"allow, TLS wanted", "tls_user", clear, allow, conf.NodeTLS{}, ""},
		{"prefer, plain wanted", "plain_user", clear, prefer, conf.NodeTLS{}, ""},
		{"prefer, TLS wanted", "tls_user", clear, prefer, conf.NodeTLS{}, ""},
		{"disable, TLS wanted", "tls_user", clear, disable, conf.NodeTLS{}, "28000"},
		{"require, plain wanted", "plain_user", clear, require, conf.NodeTLS{}, "28000"},
		{"require", "tls_user", clear, require, conf.NodeTLS{}, ""},
		{"verify-ca", "tls_user", clear, ca, conf.NodeTLS{RootCert: f.path("root.crt")}, ""},
		{"verify-ca, stranger", "tls_user", clear, ca, conf.NodeTLS{RootCert: f.path("stranger.crt")}, "certificate verify failed"},
		{"verify-full", "tls_user", clear, full, conf.NodeTLS{RootCert: f.path("root.crt")}, ""},
		{
			"certificate", "cert_user", none, full,
			conf.NodeTLS{RootCert: f.path("root.crt"), Cert: f.path("cert_user.crt"), Key: f.path("cert_user.key")},
			"",
		},
		{"certificate wanted", "cert_user", none, full, conf.NodeTLS{RootCert: f.path("root.crt")}, "28000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.node.Mode = c.mode
			server, _, err := tlsconf.ForServer(&conf.SSL{}, c.node, node.Host)
			ok(t, err)
			err = probing(t, c.entry, server).login(t.Context(), node, Login{User: c.user, Database: "postgres"})
			if c.want == "" {
				ok(t, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || troubleIn(err) != Rejected {
				t.Errorf("error %v (trouble %d), wanted %q", err, troubleIn(err), c.want)
			}
		})
	}
	t.Run("other host", func(t *testing.T) {
		server, _, err := tlsconf.ForServer(&conf.SSL{}, conf.NodeTLS{Mode: full, RootCert: f.path("root.crt")}, "localhost")
		ok(t, err)
		err = probing(t, clear, server).login(t.Context(), node, Login{User: "postgres", Database: "postgres"})
		if err == nil || troubleIn(err) != Rejected || !strings.Contains(err.Error(), "does not match host name") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("channel bound", func(t *testing.T) {
		p := probing(t, clear, tlsconf.Server{Mode: require, Config: &tls.Config{InsecureSkipVerify: true}})
		p.base.ChannelBinding = "require"
		ok(t, p.login(t.Context(), node, Login{User: "postgres", Database: "postgres"}))
	})
	t.Run("questions", func(t *testing.T) {
		p := probing(t, clear, tlsconf.Server{Mode: require, Config: &tls.Config{InsecureSkipVerify: true}})
		conn, err := p.Connect(t.Context(), node, Login{User: "tls_user", Database: "postgres"}, srParams())
		ok(t, err)
		defer closeQuietly(conn)
		a, err := conn.Position(t.Context())
		if err != nil || a.Role != cluster.RolePrimary {
			t.Errorf("%+v, %v", a, err)
		}
	})
	t.Run("ping", func(t *testing.T) {
		for mode, want := range map[conf.SSLMode]bool{disable: true, require: true} {
			p := probing(t, hash, tlsconf.Server{Mode: mode, Config: &tls.Config{InsecureSkipVerify: true}})
			if got := p.Ping(t.Context(), node, Login{User: "tls_user", Database: "postgres"}); got != want {
				t.Errorf("%v: ping %v", mode, got)
			}
		}
	})
}

// A server without TLS where it is demanded lives; where it is not, it is spoken to in plain text.
func TestServerWithoutTLS(t *testing.T) {
	node := nodeOf(0, shared.Cluster(t).Nodes[0])
	entry := auth.ParseEntry(password, auth.Key{})
	for mode, want := range map[conf.SSLMode]error{
		conf.SSLModeAllow: nil, conf.SSLModePrefer: nil, conf.SSLModeRequire: tlsconf.ErrNoTLS, conf.SSLModeVerifyFull: tlsconf.ErrNoTLS,
	} {
		p := probing(t, entry, tlsconf.Server{Mode: mode, Config: &tls.Config{InsecureSkipVerify: true}})
		err := p.login(context.Background(), node, Login{User: "postgres", Database: "postgres"})
		if !errors.Is(err, want) || err != nil && troubleIn(err) != Rejected {
			t.Errorf("%v: %v", mode, err)
		}
	}
}

// The replication check keeps its connections between rounds, but none that was opened as the parameters said before a reload.
func TestReloadOfTLS(t *testing.T) {
	r := newRig(t, nodeOf(0, shared.Cluster(t).Nodes[0]))
	var inForce tlsconf.Server
	r.prober.servers = func(cluster.NodeID, string) tlsconf.Server { return inForce }
	plain, required := tlsconf.Server{Mode: conf.SSLModeDisable}, tlsconf.Server{Mode: conf.SSLModeRequire, Config: &tls.Config{InsecureSkipVerify: true}}
	var kept []*Conn
	for _, c := range []struct {
		server tlsconf.Server
		want   string
	}{{plain, "P"}, {plain, "P"}, {required, "."}, {plain, "P"}} {
		inForce = c.server
		if got := r.do(t, false); got != c.want {
			t.Errorf("%v: the node says %s, want %s", c.server.Mode, got, c.want)
		}
		kept = append(kept, r.conns[0])
	}
	if kept[0] == nil || kept[0] != kept[1] {
		t.Error("a connection was not kept although nothing has changed")
	}
}
