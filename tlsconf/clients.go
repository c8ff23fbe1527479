package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"gopgpool/conf"
)

// ALPN is the protocol name of PostgreSQL. A client that begins with TLS at once must have negotiated it (its connection's
// NegotiatedProtocol is ALPN); one that asked by SSLRequest need not.
const ALPN = "postgresql"

// ForClients builds what clients meet with ssl = on; with ssl = off all results are nil. Warnings are lines for the log. Files
// are read now; call again at a reload. Errors name the parameter.
//
// A client is asked for a certificate if ssl_ca_cert is set. It may have none, but one that does not verify, or that a list in
// ssl_crl_file has revoked, ends the handshake (manual: ssl_ca_cert, ssl_crl_file). The result is shared by all connections and
// must not be changed; its first certificate has a Leaf.
func ForClients(c *conf.SSL) (cfg *tls.Config, warnings []string, err error) {
	if !c.SSL {
		return nil, nil, nil
	}
	var w warner
	cfg, err = forClients(c, &w)
	if err != nil {
		return nil, w.lines, err
	}
	return cfg, w.lines, nil
}

func forClients(c *conf.SSL, w *warner) (*tls.Config, error) {
	cert, err := clientsMeet(c, w)
	if err != nil {
		return nil, err
	}
	// Without tickets each connection shows its certificate anew: none outlives its revocation.
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}
	if cfg.MinVersion, cfg.MaxVersion, err = versions(c); err != nil {
		return nil, err
	}
	if cfg.CipherSuites, err = ciphers(c.SSLCiphers, w); err != nil {
		return nil, fmt.Errorf("ssl_ciphers: %w", err)
	}
	if cfg.CurvePreferences, err = curves(c.SSLEcdhCurve); err != nil {
		return nil, fmt.Errorf("ssl_ecdh_curve: %w", err)
	}
	if err := askForCertificates(cfg, c, w); err != nil {
		return nil, err
	}
	if c.SSLDhParamsFile != "" {
		w.warn("ssl_dh_params_file has no effect: DH key exchange does not exist here, clients use ECDH")
	}
	return acceptingProtocols(cfg), nil
}

func clientsMeet(c *conf.SSL, w *warner) (tls.Certificate, error) {
	switch {
	case c.SSLCert == "":
		return tls.Certificate{}, errors.New("ssl_cert: ssl = on needs a certificate")
	case c.SSLKey == "":
		return tls.Certificate{}, errors.New("ssl_key: ssl = on needs a private key")
	}
	return keyPair{
		certName: "ssl_cert", certFile: c.SSLCert, keyName: "ssl_key", keyFile: c.SSLKey,
		phrase: phraseCommand{command: c.SSLPassphraseCommand, prompt: "Enter PEM pass phrase:", bound: phraseBound},
	}.load(w)
}

// askForCertificates makes a configuration ask for the clients' certificates. crypto/tls takes any authority it is given for
// a root, so the chain is checked again by rules of ours.
func askForCertificates(cfg *tls.Config, c *conf.SSL, w *warner) error {
	if c.SSLCaCert == "" {
		if c.SSLCrlFile != "" {
			w.warn("ssl_crl_file has no effect without ssl_ca_cert: clients are not asked for certificates")
		}
		return nil
	}
	trust, err := readAuthorities("ssl_ca_cert", c.SSLCaCert, c.SSLCaCertDir, w)
	if err != nil {
		return err
	}
	revoked, err := readRevoked("ssl_crl_file", c.SSLCrlFile, trust, time.Now(), w)
	if err != nil {
		return err
	}
	check := verifier{trust: trust, revoked: revoked, usage: x509.ExtKeyUsageClientAuth, now: time.Now}
	cfg.ClientAuth, cfg.ClientCAs = tls.VerifyClientCertIfGiven, trust.all
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return nil
		}
		return check.verify(cs.PeerCertificates)
	}
	return nil
}

// acceptingProtocols completes a configuration: ALPN is offered to a client that knows it, and a client that names other
// protocols only, which crypto/tls would turn away, goes without.
func acceptingProtocols(plain *tls.Config) *tls.Config {
	cfg := plain.Clone()
	cfg.NextProtos = []string{ALPN}
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) > 0 && !slices.Contains(hello.SupportedProtos, ALPN) {
			return plain, nil
		}
		return nil, nil
	}
	return cfg
}

// versions are ssl_min_protocol_version and ssl_max_protocol_version.
func versions(c *conf.SSL) (lowest, highest uint16, err error) {
	lowest, highest = version(c.SSLMinProtocolVersion), version(c.SSLMaxProtocolVersion)
	if highest != 0 && max(lowest, tls.VersionTLS10) > highest {
		return 0, 0, errors.New("ssl_max_protocol_version: is below ssl_min_protocol_version")
	}
	if lowest == 0 {
		lowest = tls.VersionTLS10 // crypto/tls has a lower bound of its own for 0
	}
	return lowest, highest, nil
}

func version(v conf.ProtocolVersion) uint16 {
	switch v {
	case conf.ProtocolAny:
		return 0
	case conf.TLSv1:
		return tls.VersionTLS10
	case conf.TLSv11:
		return tls.VersionTLS11
	case conf.TLSv12:
		return tls.VersionTLS12
	case conf.TLSv13:
		return tls.VersionTLS13
	default:
		panic(fmt.Sprintf("tlsconf: no such version of TLS: %d", v))
	}
}

// warner collects warnings, each once.
type warner struct{ lines []string }

func (w *warner) warn(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(w.lines, line) {
		w.lines = append(w.lines, line)
	}
}
