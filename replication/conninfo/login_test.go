package conninfo

import (
	"errors"
	"strings"
	"testing"

	"gopgpool/cluster"
)

func parsed(t *testing.T, s string) Info {
	t.Helper()
	in, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestLogin: what pg_basebackup -R writes, and everything that must not travel from one server to another.
func TestLogin(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{
			"user=repl passfile=/run/pgpass channel_binding=prefer host=127.0.0.1 hostaddr=127.0.0.1 port=5432 dbname=replication replication=true" +
				" application_name=s1 fallback_application_name=walreceiver sslmode=verify-ca sslcompression=0 sslsni=1 sslrootcert=/etc/ca.crt" +
				" ssl_min_protocol_version=TLSv1.2 gssencmode=disable krbsrvname=postgres target_session_attrs=any load_balance_hosts=random",
			"user=repl passfile=/run/pgpass channel_binding=prefer sslmode=verify-ca sslcompression=0 sslsni=1 sslrootcert=/etc/ca.crt" +
				" ssl_min_protocol_version=TLSv1.2 gssencmode=disable krbsrvname=postgres",
		},
		{"user=u password='it''s' options='-c a=b' require_auth=scram-sha-256,!password", "user=u password=its options='-c a=b' require_auth='scram-sha-256,!password'"},
		{"service=evil servicefile=/tmp/s sslkeylogfile=/tmp/keys nonsense=1 user=u", "user=u"},
		{"passfile=pgpass sslcert='~/c.pem' sslrootcert=system sslmode='require host=x'", "sslrootcert=system"},
		{"sslkey=/tmp/evil:1 sslcert=/a/b.crt sslkey=dynamic:x", "sslcert=/a/b.crt"},
		{"user='a\nb' passfile='/a\nb' password='" + strings.Repeat("x", maxLogin+1) + "'", ""},
		{"", ""},
	} {
		in := parsed(t, strings.ReplaceAll(tc.in, "''s", `\'s`))
		got := in.Login()
		if want := strings.ReplaceAll(tc.want, "its", `'it\'s'`); got.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.in, got.String(), want)
		}
		if again, err := ParseLogin(got.String()); err != nil || again.String() != got.String() {
			t.Errorf("%s: %v: it is not taken", got.String(), err)
		}
	}
	for _, bad := range []string{
		"service=s", "servicefile=/s", "sslkeylogfile=/k", "host=h", "hostaddr=1.2.3.4", "port=1", "dbname=d", "replication=true",
		"application_name=a", "target_session_attrs=any", "passfile=relative", "sslkey=/a:b", "sslmode='a b'", "user='a\rb'", "x=1",
	} {
		if _, err := ParseLogin(bad); !errors.Is(err, ErrLogin) {
			t.Errorf("%s is taken: %v", bad, err)
		}
		to := cluster.Source{Host: "h", Port: 1, Login: bad}
		if in := parsed(t, "host=old"); !errors.Is(in.Follow(to), ErrLogin) || in.String() != "host=old" {
			t.Errorf("%s is followed: %s", bad, in.String())
		}
	}
	if _, err := ParseLogin("secret"); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
	if _, err := ParseLogin("passfile=secret"); strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestCompose: how a server that says nothing itself, or not all, is told to log in.
func TestCompose(t *testing.T) {
	const sibling = "host=h port=1 application_name=s2 user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"
	for _, tc := range []struct {
		name, user, own string
		others          []string
		want            string
	}{
		{"nobody knows", "", "", nil, ""},
		{"as the others", "", "", []string{"", sibling}, "user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"},
		{"a user goes before none", "", "", []string{"host=x sslmode=require", sibling}, "user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"},
		{"the server's own user", "", "user=mine passfile=/m", []string{sibling}, "user=mine passfile=/m"},
		{"the same user, without a proof", "", "user=repl", []string{"user=other password=o", sibling}, "user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"},
		{"its own password stays", "", "user=repl password=mine", []string{sibling}, "user=repl password=mine sslmode=verify-full sslrootcert=/ca"},
		{"its own file stays", "", "user=repl passfile=/m sslmode=require", []string{"user=repl password=p"}, "user=repl passfile=/m sslmode=require"},
		{"its own certificate stays whole", "", "user=repl sslcert=/m", []string{"user=repl sslcert=/c sslkey=/k sslpassword=x"}, "user=repl sslcert=/m"},
		{"another user is given", "given", "", []string{sibling}, "sslmode=verify-full sslrootcert=/ca"},
		{"another than its own", "given", "user=mine password=m sslmode=require", []string{sibling}, "sslmode=require sslrootcert=/ca"},
		{"the others' user is given", "repl", "user=mine password=m", []string{"user=x", sibling}, "user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"},
		{"nobody has a user", "", "", []string{"host=x passfile=/p"}, "passfile=/p"},
	} {
		own := parsed(t, tc.own)
		var others []Info
		for _, o := range tc.others {
			others = append(others, parsed(t, o))
		}
		if got := Compose(tc.user, own, others); got.String() != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got.String(), tc.want)
		}
		if again := parsed(t, tc.own); again.String() != own.String() {
			t.Errorf("%s: its own was changed", tc.name)
		}
	}
}

// TestFollowAsTheOthersDo: what the server has itself stays, what it lacks is theirs.
func TestFollowAsTheOthersDo(t *testing.T) {
	const login = "user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"
	for _, tc := range []struct {
		name, own string
		to        cluster.Source
		want      string
	}{
		{"nothing of its own", "", cluster.Source{}, "host=h port=1 user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"},
		{"its own password", "user=repl password=x sslmode=require", cluster.Source{}, "user=repl password=x sslmode=require host=h port=1 sslrootcert=/ca"},
		{"another user's password", "user=old password=x", cluster.Source{}, "user=repl host=h port=1 passfile=/p sslmode=verify-full sslrootcert=/ca"},
		{"a user is given", "user=repl passfile=/own", cluster.Source{User: "u", Password: "pw"}, "user=u host=h port=1 password=pw sslmode=verify-full sslrootcert=/ca"},
		{"a password is given", "user=repl passfile=/own", cluster.Source{User: "repl", Password: "pw"}, "user=repl host=h port=1 password=pw sslmode=verify-full sslrootcert=/ca"},
		{"the user alone is given", "", cluster.Source{User: "repl"}, "host=h port=1 user=repl passfile=/p sslmode=verify-full sslrootcert=/ca"},
	} {
		in := parsed(t, tc.own)
		tc.to.Host, tc.to.Port, tc.to.Login = "h", 1, login
		if err := in.Follow(tc.to); err != nil || in.String() != tc.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tc.name, err, in.String(), tc.want)
		}
	}
}

// FuzzLogin: nothing that another server says becomes something else on its way.
func FuzzLogin(f *testing.F) {
	f.Add("user=u passfile=/p service=x sslkey=a:b", "host=x user=u")
	f.Add("postgresql://u:p@h/d?sslmode=require&servicefile=%2Ftmp%2Fs", "")
	f.Fuzz(func(t *testing.T, theirs, own string) {
		in, err := Parse(theirs)
		if err != nil {
			return
		}
		mine, err := Parse(own)
		if err != nil {
			return
		}
		login := Compose("", Info{}, []Info{in})
		before := mine
		if err := mine.Follow(cluster.Source{Host: "h", Port: 1, Login: login.String()}); err != nil {
			t.Fatalf("%q: %v", login.String(), err)
		}
		again, err := Parse(mine.String())
		if err != nil || again.String() != mine.String() || again.Get("host") != "h" || again.Get("port") != "1" {
			t.Fatalf("%q: %v", mine.String(), err)
		}
		for _, s := range again.settings {
			if s.key != "host" && s.key != "port" && before.Get(s.key) == "" && !s.allowed() {
				t.Fatalf("%q came from %q", s.key, theirs)
			}
		}
	})
}
