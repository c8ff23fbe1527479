package query

import (
	"slices"
	"testing"
)

func TestRoles(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "m_all", "")
	role(t, n, "m_team", "IN ROLE m_all")
	role(t, n, "m_other", "")
	role(t, n, "m_direct", "LOGIN IN ROLE m_team, m_other")
	role(t, n, "m_noinherit", "LOGIN NOINHERIT IN ROLE m_team")
	role(t, n, "m_super", "SUPERUSER LOGIN")
	role(t, n, "m_admin", "LOGIN")
	do(t, n, "GRANT m_other TO m_admin WITH ADMIN OPTION", `GRANT m_other TO m_super`)
	role(t, n, "m_asker", "LOGIN PASSWORD 'p'")
	for _, who := range []Account{
		{User: "postgres", Password: superPassword, Database: "postgres"},
		{User: "m_asker", Password: "p", Database: "template1"}, // anybody may read it
	} {
		b.set(func(s *Settings) { s.Roles = who })
		for user, want := range map[string][]string{
			"m_all":       {"m_all"},
			"m_team":      {"m_all", "m_team"},
			"m_direct":    {"m_all", "m_direct", "m_other", "m_team"},
			"m_noinherit": {"m_all", "m_noinherit", "m_team"},
			"m_super":     {"m_other", "m_super"},
			"m_admin":     {"m_admin", "m_other"},
			"nobody":      nil,
			"M_ALL":       nil,
			"' OR true":   nil,
		} {
			got, err := b.Roles(t.Context(), user)
			slices.Sort(got)
			if err != nil || got == nil || !slices.Equal(got, want) {
				t.Errorf("%s asks for %s: %q, %v; want %q", who.User, user, got, err, want)
			}
		}
	}
	do(t, n, "REVOKE m_team FROM m_direct")
	if got, err := b.Roles(t.Context(), "m_direct"); err != nil || slices.Contains(got, "m_team") {
		t.Errorf("after REVOKE: %q, %v", got, err)
	}
	b.set(func(s *Settings) { s.Roles.Password = "wrong" })
	if got, err := b.Roles(t.Context(), "m_direct"); err == nil || got != nil {
		t.Errorf("wrong password: %q, %v", got, err)
	}
}

// TestRolesAgreeWithTheServer compares with what PostgreSQL itself says of roles that are no superusers.
func TestRolesAgreeWithTheServer(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "agree", "LOGIN IN ROLE pg_monitor")
	got, err := b.Roles(t.Context(), "agree")
	if err != nil {
		t.Fatal(err)
	}
	want := value(t, n, "SELECT count(*) FROM pg_roles WHERE pg_has_role('agree', oid, 'member')")
	if have := value(t, n, "SELECT $1::int", len(got)); have != want || !slices.Contains(got, "pg_read_all_settings") {
		t.Errorf("%q, the server has %s", got, want)
	}
}
