package main

import (
	"bytes"
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

func configOfTwo() *conf.Config {
	c := conf.Default()
	c.Backends = []conf.Backend{{Hostname: "a", Port: 5432}, {}, {Hostname: "/tmp", Port: 5433}}
	return c
}

func TestEncryptionOfNodes(t *testing.T) {
	e := newEncryption(logging.To(&bytes.Buffer{}, logging.Log))
	cfg := configOfTwo()
	cfg.BackendTLS.Global.Mode = conf.SSLModeRequire
	inForce := &cluster.View{Nodes: []cluster.Node{{ID: 0, Host: "old", Port: 5432}}}
	if err := e.load(cfg, inForce); err != nil {
		t.Fatal(err)
	}
	if e.Clients() != nil {
		t.Error("clients meet TLS with ssl = off")
	}
	for _, c := range []struct {
		node cluster.NodeID
		host string
		mode conf.SSLMode
	}{
		{0, "a", conf.SSLModeRequire},
		{0, "old", conf.SSLModeRequire},
		{2, "/tmp", conf.SSLModeDisable},
	} {
		if got := e.Server(c.node, c.host).Mode; got != c.mode {
			t.Errorf("node %d at %s: mode %v, not %v", c.node, c.host, got, c.mode)
		}
	}
	stranger := e.Server(1, "b")
	if stranger.Mode != conf.SSLModeVerifyFull || stranger.Config.VerifyConnection(tls.ConnectionState{}) == nil {
		t.Error("a server nobody has read certificates for is trusted")
	}
}

func TestEncryptionKeepsWhatWasInForce(t *testing.T) {
	e := newEncryption(logging.To(&bytes.Buffer{}, logging.Log))
	cfg := configOfTwo()
	cfg.BackendTLS.Global.Mode = conf.SSLModeRequire
	if err := e.load(cfg, nil); err != nil {
		t.Fatal(err)
	}
	broken := configOfTwo()
	broken.BackendTLS.Global = conf.NodeTLS{Mode: conf.SSLModeVerifyFull, RootCert: filepath.Join(t.TempDir(), "none.crt")}
	err := e.load(broken, nil)
	if err == nil || !strings.Contains(err.Error(), "node 0: backend_sslrootcert: ") {
		t.Errorf("error %v names neither node nor parameter", err)
	}
	if got := e.Server(0, "a").Mode; got != conf.SSLModeRequire {
		t.Errorf("mode %v after a reload that was refused", got)
	}
}
