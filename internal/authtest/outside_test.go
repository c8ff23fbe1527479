package authtest

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gopgpool/internal/authparts"
	"gopgpool/internal/pgcluster"
)

// linesOutsideEnv names the environment variable that names another table for TestMatrixOutside.
const linesOutsideEnv = "GOPGPOOL_AUTHLINES_OUTSIDE"

// TestMatrixOutside goes through testdata/outside.txt: rules that LDAP, PAM or the kernel judge.
func TestMatrixOutside(t *testing.T) {
	t.Parallel()
	lines := readLines(t, cmp.Or(os.Getenv(linesOutsideEnv), filepath.Join("testdata", "outside.txt")))
	slapd, pam := authparts.StartSlapd(t, authparts.SlapdOptions{}), authparts.NewPAM(t)
	w := newWorld(t, lines)
	plain := fmt.Sprintf("ldap ldapserver=%s ldapport=%d ", slapd.Host, slapd.Port)
	secure := fmt.Sprintf("ldap ldapserver=localhost ldapport=%d ", slapd.Port)
	bind := fmt.Sprintf(`ldapprefix="uid=" ldapsuffix=",%s"`, slapd.PeopleDN)
	search := fmt.Sprintf(`ldapbasedn="%s" ldapbinddn="%s" ldapbindpasswd=%s`, slapd.BaseDN, slapd.AdminDN, slapd.AdminPassword)
	w.outside = map[string]string{
		"ldap":        plain + bind,
		"ldapsearch":  plain + search,
		"ldaptls":     secure + "ldaptls=1 " + search,
		"ldaps":       fmt.Sprintf(`ldap ldapurl="ldaps://localhost:%d/%s?uid?sub"`, slapd.TLSPort, slapd.BaseDN),
		"ldapbackend": plain + bind + " backend_use_passwd=1",
		"ldapgone":    fmt.Sprintf("ldap ldapserver=127.0.0.1 ldapport=%d ", pgcluster.FreePort(t)) + bind,
		"pam":         "pam pamservice=" + pam.Service,
	}
	w.environment = []string{"LDAPTLS_CACERT=" + slapd.CAFile}
	for _, l := range lines {
		for _, suffix := range []string{"", expired, nologin, stranger} {
			slapd.AddUser(t, l.role()+suffix, password)
			pam.AddUser(t, l.role()+suffix, password)
		}
		pam.Expire(t, l.role()+expired)
	}
	w.tryAll(t)
}
