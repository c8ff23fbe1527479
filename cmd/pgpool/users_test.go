package main

import (
	"testing"
	"time"

	"gopgpool/auth/query"
	"gopgpool/cluster"
	"gopgpool/conf"
)

func TestWhoAsksAboutUsers(t *testing.T) {
	t.Parallel()
	sr := query.Account{User: "checker", Password: "AESx", Database: "srdb"}
	for name, c := range map[string]struct {
		user, database string
		entries, roles query.Account
	}{
		"no auth_user":              {"", "", query.Account{}, sr},
		"no auth_user, auth_dbname": {"", "db", query.Account{Database: "db"}, sr},
		"auth_user":                 {"u", "", query.Account{User: "u"}, query.Account{User: "u", Database: "srdb"}},
		"auth_user, auth_dbname":    {"u", "db", query.Account{User: "u", Database: "db"}, query.Account{User: "u", Database: "db"}},
	} {
		cfg := conf.Default()
		cfg.Auth.AuthUser, cfg.Auth.AuthDbname = c.user, c.database
		cfg.StreamingCheck.SrCheckUser, cfg.StreamingCheck.SrCheckPassword, cfg.StreamingCheck.SrCheckDatabase = sr.User, sr.Password, sr.Database
		s := usersSettings(cfg)
		if s.Entries != c.entries || s.Roles != c.roles || s.Query != cfg.Auth.AuthQuery || s.Timeout != time.Minute ||
			s.ConnectTimeout != 10*time.Second {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestUsersFollowReloads(t *testing.T) {
	t.Parallel()
	live := conf.NewLive(conf.Default())
	p := &parts{live: live, store: cluster.NewStore(&cluster.View{})}
	users, err := p.newUsers(nil)
	if err != nil {
		t.Fatal(err)
	}
	off, _ := users.Entry(t.Context(), "db", "u")
	next := conf.Default()
	next.Auth.AuthUser = "asker"
	live.Publish(next)
	_, err = users.Entry(t.Context(), "db", "u")
	if off.Present() || err == nil || err.Error() != `could not ask about users as "asker" in database "db": no node is live` {
		t.Errorf("%v, %v", off, err)
	}
}
