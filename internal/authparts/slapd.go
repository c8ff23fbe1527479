package authparts

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"gopgpool/internal/pgcluster"
)

// RequireEnv names the environment variable that turns a missing slapd or PAM from a skipped test into a failed one.
const RequireEnv = "GOPGPOOL_REQUIRE_AUTH"

const patience = 30 * time.Second

// SlapdOptions says where a server listens. The zero value is free ports of 127.0.0.1.
type SlapdOptions struct {
	Host string // an address of the loopback interface
	Port int    // of ldap; ldaps gets a free one
}

// Slapd is an OpenLDAP server of one test. It speaks plain LDAP and StartTLS on Port, LDAPS on TLSPort, and its certificate is
// for localhost, 127.0.0.1, 127.0.0.2 and ::1. Anybody may search, a bind with a name and no password succeeds (the mistake
// that clients of LDAP have to keep from), passwords are compared by binds only.
//
// A record of pool_hba.conf that uses it:
//
//	host all all all ldap ldapserver=127.0.0.1 ldapport=<Port> ldapprefix="uid=" ldapsuffix=",<PeopleDN>"
//	host all all all ldap ldapserver=127.0.0.1 ldapport=<Port> ldapbasedn="<BaseDN>"
//	host all all all ldap ldapserver=localhost ldapport=<Port> ldaptls=1 ldapbasedn="<BaseDN>" ldapbinddn="<AdminDN>" ldapbindpasswd=<AdminPassword>
//	host all all all ldap ldapurl="ldaps://localhost:<TLSPort>/<BaseDN>?uid?sub"
//
// For the two with TLS, pgpool needs LDAPTLS_CACERT=<CAFile> in its environment.
type Slapd struct {
	Host          string
	Port, TLSPort int
	URL, TLSURL   string // ldap://host:port and ldaps://localhost:port
	BaseDN        string // dc=example,dc=org
	PeopleDN      string // ou=people below it, where AddUser puts entries
	AdminDN       string // may do everything
	AdminPassword string
	CAFile        string // PEM; what the server's certificate is checked against. Readable for everybody.

	dir    string
	cmd    *exec.Cmd
	output bytes.Buffer  // read after done
	done   chan struct{} // closed when the process was reaped
	err    error         // set before done is closed
}

// StartSlapd starts a server whose data is gone with the test. Without slapd the test is skipped, or fails if [RequireEnv] is set.
func StartSlapd(tb testing.TB, opts SlapdOptions) *Slapd {
	tb.Helper()
	program, schemas := findSlapd(tb)
	s := newSlapd(tb, opts)
	s.writeConfig(tb, schemas)
	listen := fmt.Sprintf("ldap://%s ldaps://%s", s.address(s.Port), s.address(s.TLSPort))
	s.cmd = exec.Command(program, "-d", "0", "-f", filepath.Join(s.dir, "slapd.conf"), "-h", listen)
	s.start(tb)
	tb.Cleanup(func() { s.Stop(tb) })
	s.await(tb)
	s.addTree(tb)
	return s
}

func newSlapd(tb testing.TB, opts SlapdOptions) *Slapd {
	tb.Helper()
	s := &Slapd{
		Host: opts.Host, Port: opts.Port, TLSPort: pgcluster.FreePort(tb),
		BaseDN: "dc=example,dc=org", PeopleDN: "ou=people,dc=example,dc=org",
		AdminDN: "cn=admin,dc=example,dc=org", AdminPassword: "admin-secret",
		dir: OpenDir(tb), done: make(chan struct{}),
	}
	if s.Host == "" {
		s.Host = "127.0.0.1"
	}
	if s.Port == 0 {
		s.Port = pgcluster.FreePort(tb)
	}
	s.URL = "ldap://" + s.address(s.Port)
	s.TLSURL = "ldaps://localhost:" + strconv.Itoa(s.TLSPort)
	return s
}

func (s *Slapd) address(port int) string { return net.JoinHostPort(s.Host, strconv.Itoa(port)) }

// findSlapd returns the program and the directory of its schemas.
func findSlapd(tb testing.TB) (program, schemas string) {
	tb.Helper()
	for _, program = range []string{"/usr/sbin/slapd", "/usr/libexec/slapd", "/usr/local/libexec/slapd"} {
		for _, schemas = range []string{"/etc/ldap/schema", "/etc/openldap/schema", "/usr/local/etc/openldap/schema"} {
			if exists(program) && exists(filepath.Join(schemas, "core.schema")) {
				return program, schemas
			}
		}
	}
	missing(tb, "no slapd here: scripts/need ldap tells how to install it")
	return "", ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// missing skips the test, or fails it where all parts are demanded.
func missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv(RequireEnv) != "" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}

// OpenDir is a temporary directory of a test that every account of the machine can read.
func OpenDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "gopgpool-auth-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func write(tb testing.TB, path, text string, mode os.FileMode) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
}

func (s *Slapd) writeConfig(tb testing.TB, schemas string) {
	tb.Helper()
	s.CAFile = filepath.Join(s.dir, "ca.pem")
	cert, key := filepath.Join(s.dir, "server.pem"), filepath.Join(s.dir, "server.key")
	writeCertificates(tb, s.CAFile, cert, key)
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		tb.Fatal(err)
	}
	var b strings.Builder
	for _, name := range []string{"core", "cosine", "inetorgperson"} {
		fmt.Fprintf(&b, "include %s/%s.schema\n", schemas, name)
	}
	if module := "/usr/lib/ldap/back_mdb.la"; exists(module) {
		fmt.Fprintf(&b, "modulepath %s\nmoduleload back_mdb\n", filepath.Dir(module))
	}
	fmt.Fprintf(&b, "pidfile %s/slapd.pid\nargsfile %s/slapd.args\nallow bind_anon_dn\n", s.dir, s.dir)
	fmt.Fprintf(&b, "TLSCACertificateFile %s\nTLSCertificateFile %s\nTLSCertificateKeyFile %s\n", s.CAFile, cert, key)
	fmt.Fprintf(&b, "database mdb\nsuffix %s\nrootdn %s\nrootpw %s\ndirectory %s\ndbnosync\n", s.BaseDN, s.AdminDN, s.AdminPassword, data)
	b.WriteString("access to attrs=userPassword by anonymous auth\naccess to * by * read\n")
	write(tb, filepath.Join(s.dir, "slapd.conf"), b.String(), 0o600)
}

// start runs the server from a thread of its own: the kernel sends the parent-death signal when that thread ends.
func (s *Slapd) start(tb testing.TB) {
	tb.Helper()
	s.cmd.Stdout, s.cmd.Stderr = &s.output, &s.output
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go s.run(started)
	if err := <-started; err != nil {
		tb.Fatal(err)
	}
}

func (s *Slapd) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.done)
	err := s.cmd.Start()
	started <- err
	if err == nil {
		err = s.cmd.Wait()
	}
	s.err = err
}

// await returns when the server answers.
func (s *Slapd) await(tb testing.TB) {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		c, err := net.Dial("tcp", s.address(s.TLSPort))
		if err == nil {
			_ = c.Close() // nothing was written to it
			return
		}
		select {
		case <-s.done:
			tb.Fatalf("slapd ended: %v\n%s", s.err, s.output.String())
		case <-deadline:
			tb.Fatalf("slapd does not listen: %v", err)
		case <-tick.C:
		}
	}
}

// Stop ends the server; it may be stopped already. From then on connections are refused.
func (s *Slapd) Stop(tb testing.TB) {
	tb.Helper()
	select {
	case <-s.done:
		return
	default:
	}
	s.signal(tb, syscall.SIGCONT)
	s.signal(tb, syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(patience):
		s.signal(tb, syscall.SIGKILL)
		<-s.done
		tb.Errorf("slapd had to be killed\n%s", s.output.String())
	}
}

// Pause freezes the server: it accepts connections and answers nothing, until Resume or Stop.
func (s *Slapd) Pause(tb testing.TB) {
	tb.Helper()
	s.signal(tb, syscall.SIGSTOP)
	// The signal goes to one thread, which may wait for a processor while the others still answer.
	frozen := func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid)) // the only error is a bad pattern
		return len(threads) > 0 && !slices.ContainsFunc(threads, func(file string) bool {
			text, err := os.ReadFile(file)
			_, state, _ := strings.Cut(string(text), ") ")
			return err == nil && !strings.HasPrefix(state, "T")
		})
	}
	for limit := time.After(patience); !frozen(); {
		select {
		case <-limit:
			tb.Fatal("slapd does not freeze")
		case <-time.After(time.Millisecond):
		}
	}
}

// Resume ends a Pause.
func (s *Slapd) Resume(tb testing.TB) {
	tb.Helper()
	s.signal(tb, syscall.SIGCONT)
}

func (s *Slapd) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Error(err)
	}
}

func (s *Slapd) addTree(tb testing.TB) {
	tb.Helper()
	s.Add(tb, s.BaseDN, map[string]string{"objectClass": "domain", "dc": "example"})
	s.AddUnit(tb, "people")
}

// AddUnit makes an organizational unit below BaseDN and returns its DN. The unit "people" is there already.
func (s *Slapd) AddUnit(tb testing.TB, name string) string {
	tb.Helper()
	dn := "ou=" + ldap.EscapeDN(name) + "," + s.BaseDN
	s.Add(tb, dn, map[string]string{"objectClass": "organizationalUnit", "ou": name})
	return dn
}

// AddUser makes a person with a password in PeopleDN and returns the person's DN. uid may hold any characters;
// one in ASCII also gets the mail address uid@example.org, for filters.
func (s *Slapd) AddUser(tb testing.TB, uid, password string) string {
	tb.Helper()
	return s.AddUserIn(tb, s.PeopleDN, uid, password)
}

// AddUserIn is AddUser below another entry.
func (s *Slapd) AddUserIn(tb testing.TB, parent, uid, password string) string {
	tb.Helper()
	dn := "uid=" + ldap.EscapeDN(uid) + "," + parent
	attributes := map[string]string{"objectClass": "inetOrgPerson", "uid": uid, "cn": uid, "sn": uid, "userPassword": password}
	if !strings.ContainsFunc(uid, func(r rune) bool { return r >= utf8.RuneSelf }) {
		attributes["mail"] = uid + "@example.org"
	}
	s.Add(tb, dn, attributes)
	return dn
}

// Add makes any entry.
func (s *Slapd) Add(tb testing.TB, dn string, attributes map[string]string) {
	tb.Helper()
	c, err := ldap.DialURL(s.URL)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = c.Close() }() // all was answered
	if err := c.Bind(s.AdminDN, s.AdminPassword); err != nil {
		tb.Fatal(err)
	}
	request := ldap.NewAddRequest(dn, nil)
	for name, value := range attributes {
		request.Attribute(name, []string{value})
	}
	if err := c.Add(request); err != nil {
		tb.Fatalf("%s: %v", dn, err)
	}
}
