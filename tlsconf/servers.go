package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"gopgpool/conf"
)

// Server is how to speak to one server.
type Server struct {
	// Mode tells when TLS is tried and whether plain text will do, as libpq's sslmode; never SSLModeAuto. Allow tries plain text
	// first and TLS if that is refused, Prefer the other way round; from Require on there is nothing but TLS.
	Mode conf.SSLMode
	// Config is nil with SSLModeDisable. It is shared by all connections to the server and must not be changed.
	Config *tls.Config
}

// ForServer decides how to speak to a server at host (backend_hostname), whose parameters are node. Warnings are lines for the
// log. Files are read now; call again at a reload. Errors name the parameter.
//
//	auto         disable with ssl = off; verify-ca where authorities are configured; else prefer
//	allow,prefer the certificate is not checked: who could forge one could as well forbid TLS
//	require      the same, but verify-ca where authorities are configured, as in libpq
//	verify-ca    the certificate must come from the authorities, and be on no list of backend_sslcrl
//	verify-full  and be that of host
//
// Authorities are backend_sslrootcert, else ssl_ca_cert with ssl_ca_cert_dir. A server at a socket file (host is empty or a
// path) is always spoken to in plain text, as libpq does.
func ForServer(ssl *conf.SSL, node conf.NodeTLS, host string) (Server, []string, error) {
	mode := effectiveMode(ssl, &node, host)
	if mode == conf.SSLModeDisable {
		return Server{Mode: mode}, nil, nil
	}
	var w warner
	cfg := &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{ALPN},
		InsecureSkipVerify:     true, // the check below is libpq's: with a mode, a CN and lists of revoked certificates
		SessionTicketsDisabled: true,
	}
	if err := showCertificate(cfg, ssl, &node, &w); err != nil {
		return Server{}, w.lines, err
	}
	if mode < conf.SSLModeVerifyCA {
		if node.CRL != "" {
			w.warn("backend_sslcrl has no effect with backend_sslmode = %s: certificates are not checked", mode)
		}
		return Server{Mode: mode, Config: cfg}, w.lines, nil
	}
	if err := checkServer(cfg, ssl, &node, mode, &w); err != nil {
		return Server{}, w.lines, err
	}
	return Server{Mode: mode, Config: cfg}, w.lines, nil
}

// effectiveMode is backend_sslmode without auto, and with libpq's rule that require with authorities at hand asks them.
func effectiveMode(ssl *conf.SSL, node *conf.NodeTLS, host string) conf.SSLMode {
	if host == "" || strings.HasPrefix(host, "/") {
		return conf.SSLModeDisable
	}
	authorities := node.RootCert != "" || ssl.SSLCaCert != "" || ssl.SSLCaCertDir != ""
	switch node.Mode {
	case conf.SSLModeAuto:
		switch {
		case !ssl.SSL:
			return conf.SSLModeDisable
		case authorities:
			return conf.SSLModeVerifyCA
		}
		return conf.SSLModePrefer
	case conf.SSLModeRequire:
		if authorities {
			return conf.SSLModeVerifyCA
		}
		return conf.SSLModeRequire
	case conf.SSLModeDisable, conf.SSLModeAllow, conf.SSLModePrefer, conf.SSLModeVerifyCA, conf.SSLModeVerifyFull:
		return node.Mode
	default:
		panic(fmt.Sprintf("tlsconf: no such mode: %d", node.Mode))
	}
}

// showCertificate makes a configuration show backend_sslcert. A server that asks gets it, whatever authorities it names.
func showCertificate(cfg *tls.Config, ssl *conf.SSL, node *conf.NodeTLS, w *warner) error {
	switch {
	case node.Cert == "" && node.Key == "":
		return nil
	case node.Cert == "":
		return errors.New("backend_sslcert: backend_sslkey is set without it")
	case node.Key == "":
		return errors.New("backend_sslkey: backend_sslcert is set without it")
	}
	cert, err := keyPair{
		certName: "backend_sslcert", certFile: node.Cert, keyName: "backend_sslkey", keyFile: node.Key,
		phrase: phraseCommand{
			command: ssl.SSLPassphraseCommand, prompt: "Enter PEM pass phrase for backend_sslkey:", bound: phraseBound,
		},
	}.load(w)
	if err != nil {
		return err
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return nil
}

func checkServer(cfg *tls.Config, ssl *conf.SSL, node *conf.NodeTLS, mode conf.SSLMode, w *warner) error {
	name, file, dir := "backend_sslrootcert", node.RootCert, ""
	if file == "" {
		name, file, dir = "ssl_ca_cert", ssl.SSLCaCert, ssl.SSLCaCertDir
	}
	if file == "" && dir == "" {
		return fmt.Errorf("backend_sslmode: %s needs backend_sslrootcert or ssl_ca_cert", mode)
	}
	trust, err := readAuthorities(name, file, dir, w)
	if err != nil {
		return err
	}
	revoked, err := readRevoked("backend_sslcrl", node.CRL, trust, time.Now(), w)
	if err != nil {
		return err
	}
	check, host := verifier{trust: trust, revoked: revoked, usage: x509.ExtKeyUsageServerAuth, now: time.Now}, cfg.ServerName
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if err := check.verify(cs.PeerCertificates); err != nil {
			return err
		}
		if mode == conf.SSLModeVerifyFull {
			return verifyHost(cs.PeerCertificates[0], host)
		}
		return nil
	}
	return nil
}
