package e2e

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/authparts"
	"gopgpool/internal/pgcluster"
)

// Each database has a record of its own, so that one pgpool tries all ways to ask LDAP and PAM. The databases need not exist: who is not let
// in does not learn that, who is gets another error.
func TestPasswordsOfLDAPAndPAM(t *testing.T) {
	t.Parallel()
	s, pam := authparts.StartSlapd(t, authparts.SlapdOptions{}), authparts.NewPAM(t)
	for _, role := range []string{"outsider", "outsider_expired"} {
		onServer(t, 0, "CREATE ROLE "+role+" LOGIN")
		s.AddUser(t, role, password)
		pam.AddUser(t, role, password)
	}
	pam.Expire(t, "outsider_expired")
	dead := pgcluster.FreePort(t)
	simple := fmt.Sprintf(` ldapprefix="uid=" ldapsuffix=",%s"`, s.PeopleDN)
	search := fmt.Sprintf(` ldapbasedn="%s" ldapbinddn="%s" ldapbindpasswd=%s`, s.BaseDN, s.AdminDN, s.AdminPassword)
	records := []struct{ database, text string }{
		{"simple", fmt.Sprintf("ldap ldapserver=%s ldapport=%d", s.Host, s.Port) + simple},
		{"search", fmt.Sprintf("ldap ldapserver=%s ldapport=%d", s.Host, s.Port) + search},
		{"starttls", fmt.Sprintf("ldap ldapserver=localhost ldapport=%d ldaptls=1", s.Port) + search},
		{"ldaps", fmt.Sprintf(`ldap ldapurl="ldaps://localhost:%d/%s?uid?sub"`, s.TLSPort, s.BaseDN)},
		{"pam", "pam pamservice=" + pam.Service},
	}
	hba := "host dead all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=" + fmt.Sprint(dead) + simple + "\n"
	for _, r := range records {
		hba += "host " + r.database + " all 127.0.0.1/32 " + r.text + "\n"
	}
	p := startWith(t, pgcluster.PgpoolOptions{
		Conf: map[string]string{"enable_pool_hba": "on", "allow_clear_text_frontend_auth": "on", "auth_delay": "0"},
		HBA:  hba + "host all postgres 127.0.0.1/32 trust\n",
		Env:  []string{"LDAPTLS_CACERT=" + s.CAFile},
	})
	login := func(database, role, given string) (state, message string) {
		conn, err := p.Connect(t.Context(), "database="+database, "user="+role, "password="+given)
		if err == nil {
			_ = conn.Close(t.Context()) // it was not to be there
			return "", ""
		}
		e := (*pgconn.PgError)(nil)
		if !errors.As(err, &e) {
			return "", err.Error()
		}
		return e.Code, e.Message + e.Detail + e.Hint
	}
	for _, r := range records {
		refusal := `LDAP authentication failed for user "`
		if r.database == "pam" {
			refusal = `PAM authentication failed for user "`
		}
		for _, tc := range []struct{ role, given, state, message string }{
			{"outsider", password, "3D000", fmt.Sprintf(`database "%s" does not exist`, r.database)},
			{"outsider", "wrong", "28P01", refusal + `outsider"`},
			{"outsider", "''", "28P01", `password authentication failed for user "outsider"`},
			{"nobody", password, "28P01", refusal + `nobody"`},
		} {
			if state, message := login(r.database, tc.role, tc.given); state != tc.state || message != tc.message {
				t.Errorf("%s, %s, %s: %s %s", r.database, tc.role, tc.given, state, message)
			}
		}
	}
	if state, message := login("pam", "outsider_expired", password); state != "28P01" {
		t.Error("expired:", state, message)
	}
	if state, message := login("dead", "outsider", password); state != "28P01" || message != `LDAP authentication failed for user "outsider"` {
		t.Error("no LDAP server:", state, message)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, pattern := range []string{
		`LDAP login failed for user "uid=outsider,ou=people,dc=example,dc=org" on server "127\.0\.0\.1": `, `LDAP user "nobody" does not exist`,
		`pam_authenticate failed: `, `system call pam_acct_mgmt failed: `, `no LDAP server gave an answer`,
	} {
		if _, err := p.WaitLog(ctx, regexp.MustCompile(pattern)); err != nil {
			t.Errorf("the log lacks %q: %v", pattern, err)
		}
	}
}
