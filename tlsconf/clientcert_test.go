package tlsconf

import (
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/conf"
)

// world are authorities, certificates and lists the tests about clients and servers share.
type world struct {
	p                     *pki
	root, middle          *authority
	server, good, revoked certificate // issued by the root
	deep, deepRevoked     certificate // issued by middle
	deepChain             certificate // deep with middle's certificate behind it
}

func newWorld(t *testing.T) *world {
	t.Helper()
	p := newPKI(t)
	w := &world{p: p, root: p.root("root")}
	w.middle = w.root.authority("middle")
	w.server = w.root.issue("server", "/CN=server", forProxy)
	w.good, w.revoked = w.root.issue("good", "/O=Org/CN=good", ""), w.root.issue("revoked", "/CN=revoked", "")
	w.deep, w.deepRevoked = w.middle.issue("deep", "/CN=deep", ""), w.middle.issue("deeprevoked", "/CN=deeprevoked", "")
	w.deepChain = certificate{crt: p.joined("deepchain", w.deep.crt, w.middle.crt), key: w.deep.key}
	w.root.revoke(w.revoked)
	w.middle.revoke(w.deepRevoked)
	return w
}

// Manual: a client's certificate is not demanded, but one that is shown must verify.
func TestClientCertificates(t *testing.T) {
	w := newWorld(t)
	stranger := w.p.root("stranger").issue("alien", "/CN=good", "")
	expired := w.root.issue("expired", "/CN=good", "", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
	forServers := w.root.issue("forservers", "/CN=good", "extendedKeyUsage=serverAuth\n")
	both := w.p.joined("both.crt", w.root.crt, w.middle.crt)
	dir := t.TempDir()
	p := w.p
	p.openssl("x509", "-in", "middle.crt", "-out", filepath.Join(dir, "0a1b2c3d.0"))
	p.openssl("crl", "-in", w.middle.crl("in-dir.crl"), "-out", filepath.Join(dir, "0a1b2c3d.r0"))
	for _, c := range []struct {
		name    string
		ca, dir string
		shown   []certificate
		want    string // the error; "" for none
	}{
		{"none", w.root.crt, "", nil, ""},
		{"good", w.root.crt, "", []certificate{w.good}, ""},
		{"of a stranger", w.root.crt, "", []certificate{stranger}, "unknown authority"},
		{"expired", w.root.crt, "", []certificate{expired}, "expired"},
		{"for servers", w.root.crt, "", []certificate{forServers}, "incompatible key usage"},
		{"chain sent", w.root.crt, "", []certificate{w.deepChain}, ""},
		{"chain not sent", w.root.crt, "", []certificate{w.deep}, "unknown authority"},
		{"chain ours", both, "", []certificate{w.deep}, ""},
		{"chain in the directory", w.root.crt, dir, []certificate{w.deep}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ssl := base(w.server)
			ssl.SSLCaCert, ssl.SSLCaCertDir = c.ca, c.dir
			o := handshake(t, mustClients(t, ssl), client(t, w.root, c.shown...))
			says(t, o.serverErr, c.want)
			if (o.clientErr == nil) != (c.want == "") {
				t.Errorf("the client has %v", o.clientErr)
			}
			got := PeerOf(&o.server)
			if verified := c.want == "" && len(c.shown) > 0; got.Verified != verified || got.Presented != verified {
				t.Errorf("the peer is %+v", got)
			}
		})
	}
}

// Without ssl_ca_cert nobody is asked, so nobody is verified.
func TestCertificatesNotAsked(t *testing.T) {
	w := newWorld(t)
	o := handshake(t, mustClients(t, base(w.server)), client(t, w.root, w.good))
	says(t, o.serverErr, "")
	if got := PeerOf(&o.server); got != (Peer{}) {
		t.Errorf("the peer is %+v", got)
	}
}

// An authority below the root that the file trusts by its mere presence would be a root for crypto/tls: its own expiry and
// revocation would not be looked at.
func TestAuthorityBelowRootIsNoAnchor(t *testing.T) {
	w := newWorld(t)
	w.root.revoke(w.middle.certificate)
	ssl := base(w.server)
	ssl.SSLCaCert = w.p.joined("both.crt", w.root.crt, w.middle.crt)
	ssl.SSLCrlFile = w.p.joined("lists", w.root.crl("root.crl"), w.middle.crl("middle.crl"))
	o := handshake(t, mustClients(t, ssl), client(t, w.root, w.deepChain))
	says(t, o.serverErr, `certificate revoked: "CN=middle"`)
	says(t, handshake(t, mustClients(t, ssl), client(t, w.root, w.good)).serverErr, "")
}

func TestRevokedClients(t *testing.T) {
	w := newWorld(t)
	rootList, middleList := w.root.crl("root.crl"), w.middle.crl("middle.crl")
	both := w.p.joined("both.crl", rootList, middleList)
	w.p.openssl("crl", "-in", "root.crl", "-outform", "DER", "-out", "root.der")
	oldList := w.root.crl("old.crl", "-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z")
	oldForm := w.root.crlOfVersion1("version1.crl")
	early := w.root.crl("early.crl", "-crl_lastupdate", "20900101000000Z", "-crl_nextupdate", "20900201000000Z")
	for _, c := range []struct {
		name  string
		lists string
		shown certificate
		want  string
	}{
		{"good", rootList, w.good, ""},
		{"good, two lists", both, w.good, ""},
		{"revoked", rootList, w.revoked, `certificate revoked: "CN=revoked"`},
		{"revoked, second list", w.p.joined("turned.crl", middleList, rootList), w.revoked, "certificate revoked"},
		{"good, DER", w.p.path("root.der"), w.good, ""},
		{"revoked, DER", w.p.path("root.der"), w.revoked, "certificate revoked"},
		{"deep", both, w.deepChain, ""},
		{"deep, revoked", both, w.deepRevoked, "certificate revoked"},
		{"deep, no list of its authority", rootList, w.deepChain, `unable to get certificate CRL: "CN=deep"`},
		{"deep, forged list of its authority", w.p.joined("forged.crl", rootList, w.p.forger("middle").crl("f.crl")), w.deepChain, "unable to get certificate CRL"},
		{"no list of the root", middleList, w.deepChain, `unable to get certificate CRL: "CN=middle"`},
		{"old list", oldList, w.good, "CRL has expired"},
		{"old list knows", oldList, w.revoked, "certificate revoked"},
		{"old list and new", w.p.joined("oldnew.crl", oldList, rootList), w.good, ""},
		{"good, list of version 1", oldForm, w.good, ""},
		{"revoked, list of version 1", oldForm, w.revoked, "certificate revoked"},
		{"list of tomorrow", early, w.good, "CRL is not yet valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ssl := base(w.server)
			ssl.SSLCaCert, ssl.SSLCrlFile = w.root.crt, c.lists
			if c.shown == w.deepRevoked {
				ssl.SSLCaCert = w.p.joined("both.crt", w.root.crt, w.middle.crt)
			}
			cfg, warnings, err := ForClients(&ssl)
			says(t, err, "")
			if expired := strings.Contains(c.name, "old list"); expired != (len(warnings) == 1) {
				t.Errorf("warnings %q", warnings)
			}
			says(t, handshake(t, cfg, client(t, w.root, c.shown)).serverErr, c.want)
			if sees := opensslVerify(t, ssl.SSLCaCert, c.lists, c.shown.crt); sees != (c.want == "") {
				t.Errorf("openssl verify: %v", sees)
			}
		})
	}
	t.Run("partial list", func(t *testing.T) {
		w.p.write("root.cnf", readFile(t, w.p.path("root.cnf"))+"[partial]\nissuingDistributionPoint=critical,@idp\n[idp]\nonlyCA=TRUE\n")
		ssl := base(w.server)
		ssl.SSLCaCert, ssl.SSLCrlFile = w.root.crt, w.root.crl("partial.crl", "-crlexts", "partial")
		_, _, err := ForClients(&ssl)
		says(t, err, "critical extension 2.5.29.28")
	})
}

// A list in a file that a reload brings counts from then on.
func TestRevokedByReload(t *testing.T) {
	w := newWorld(t)
	ssl := base(w.server)
	ssl.SSLCaCert, ssl.SSLCrlFile = w.root.crt, w.root.crl("root.crl")
	before := mustClients(t, ssl)
	w.root.revoke(w.good)
	w.root.crl("root.crl")
	says(t, handshake(t, before, client(t, w.root, w.good)).serverErr, "")
	says(t, handshake(t, mustClients(t, ssl), client(t, w.root, w.good)).serverErr, "certificate revoked")
}

// The example of the manual's section about certificates: s_client with -cert.
func TestOpenSSLClientCertificate(t *testing.T) {
	w := newWorld(t)
	ssl := base(w.server)
	ssl.SSLCaCert, ssl.SSLCrlFile = w.root.crt, w.root.crl("root.crl")
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		cs, err := sClient(t, mustClients(t, ssl), version, "-cert", w.good.crt, "-key", w.good.key)
		says(t, err, "")
		if got := PeerOf(&cs); got != (Peer{Presented: true, Verified: true, CN: "good", DN: "CN=good,O=Org"}) {
			t.Errorf("the peer is %+v", got)
		}
		_, err = sClient(t, mustClients(t, ssl), version, "-cert", w.revoked.crt, "-key", w.revoked.key)
		says(t, err, "certificate revoked")
	}
}

func TestOldParameterSets(t *testing.T) {
	for v, want := range map[conf.ProtocolVersion]uint16{conf.ProtocolAny: 0, conf.TLSv1: 0x301, conf.TLSv11: 0x302, conf.TLSv12: 0x303, conf.TLSv13: 0x304} {
		if got := version(v); got != want {
			t.Errorf("%v is %x", v, got)
		}
	}
}
