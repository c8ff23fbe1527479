package recovery

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/tlsconf"
)

// hashed is a password that is known as a hash only.
type hashed struct{}

func (hashed) Error() string { return "a hash" }

func (hashed) Hashed() bool { return true }

// The original's texts for a hash in recovery_password.
func TestHashedPassword(t *testing.T) {
	w := newWorld(t, cluster.Node{Host: "127.0.0.1", Port: 1})
	w.r.parts.Password = func(string, string) (string, error) { return "", hashed{} }
	_, err := w.r.connect(t.Context(), w.store.Current().Nodes[0], w.settings, "postgres")
	var mine *Error
	if !errors.As(err, &mine) || mine.Message != "the password of recovery_user "+w.settings.RecoveryUser+" is invalid format" ||
		mine.Detail != "recovery_password is not allowed to be md5 hashed format" {
		t.Errorf("error %#v", err)
	}
	if told := errUnreachable(0, err); told != mine {
		t.Errorf("told is %v", told)
	}
	w.r.parts.Password = func(string, string) (string, error) { return "", errors.New("unreadable") }
	_, err = w.r.connect(t.Context(), w.store.Current().Nodes[0], w.settings, "postgres")
	if err == nil || !strings.Contains(err.Error(), "unreadable") || errors.As(err, &mine) {
		t.Errorf("error %v", err)
	}
}

// A server that has no TLS where it is demanded is there, so nobody waits for it to start.
func TestServerWithoutTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer func() { _ = l.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Read(make([]byte, 8))
		_, _ = c.Write([]byte("N"))
		_ = c.Close()
	}()
	w := newWorld(t)
	w.r.parts.TLS = func(cluster.NodeID, string) tlsconf.Server {
		return tlsconf.Server{Mode: conf.SSLModeRequire, Config: &tls.Config{InsecureSkipVerify: true}}
	}
	n := cluster.Node{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
	_, err = w.r.connect(t.Context(), n, w.settings, "postgres")
	if !errors.Is(err, tlsconf.ErrNoTLS) || judge(err) != answerRefused {
		t.Errorf("error %v, judged %v", err, judge(err))
	}
	<-done
}

// recovery_user logs in as backend_sslmode says.
func TestLoginOverTLS(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x",
		"-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "server.key", "-out", "server.crt")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, err := pgcluster.New(pgcluster.Options{
		Nodes: 1, Auth: "scram-sha-256", Password: "s3cret", HBA: "hostnossl all tls_user all reject\n",
		Config: map[string]string{"ssl": "on", "ssl_cert_file": "../server.crt", "ssl_key_file": "../server.key"},
	})
	if errors.Is(err, pgcluster.ErrNoServer) {
		t.Skip(err)
	}
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	for _, name := range []string{"server.crt", "server.key"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		check(t, err)
		check(t, c.WriteFile(name, string(b), 0o600))
	}
	check(t, c.Build(t.Context()))
	check(t, c.Nodes[0].Exec(t.Context(), "CREATE ROLE tls_user SUPERUSER LOGIN PASSWORD 's3cret'"))
	w := newWorld(t)
	w.settings.RecoveryUser = "tls_user"
	w.r.parts.Password = func(string, string) (string, error) { return "s3cret", nil }
	n := cluster.Node{Host: c.Nodes[0].Host, Port: c.Nodes[0].Port}
	for _, row := range []struct {
		mode conf.SSLMode
		want string
	}{
		{conf.SSLModeDisable, "28000"},
		{conf.SSLModeAllow, ""},
		{conf.SSLModePrefer, ""},
		{conf.SSLModeRequire, ""},
		{conf.SSLModeVerifyFull, ""},
	} {
		t.Run(row.mode.String(), func(t *testing.T) {
			node := conf.NodeTLS{Mode: row.mode}
			if row.mode == conf.SSLModeVerifyFull {
				node.RootCert = filepath.Join(dir, "server.crt")
			}
			server, _, err := tlsconf.ForServer(&conf.SSL{}, node, n.Host)
			check(t, err)
			w.r.parts.TLS = func(cluster.NodeID, string) tlsconf.Server { return server }
			s, err := w.r.connect(t.Context(), n, w.settings, "postgres")
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("error %v", err)
				}
				return
			}
			check(t, err)
			defer s.close()
			got, err := s.row(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
			if err != nil || string(got[0]) != "t" {
				t.Errorf("TLS %s, error %v", got, err)
			}
		})
	}
}
