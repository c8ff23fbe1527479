package conninfo

import (
	"errors"
	"strings"
	"testing"

	"gopgpool/cluster"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"host=a port=1", "host=a port=1"},
		{" host = 'a b'  port= 5432\n", "host='a b' port=5432"},
		{`password='it\'s \\'`, `password='it\'s \\'`},
		{`password=a\ b`, `password='a b'`},
		{"host='' user=x", "user=x"},
		{"user=a user=b", "user=b"},
		{"postgresql://u%40:p%20w@h:5433/db?sslmode=require&application_name=s1", "user=u@ password='p w' host=h port=5433 dbname=db sslmode=require application_name=s1"},
		{"postgres://[::1]:5432,b:5433/", "host='::1,b' port='5432,5433'"},
		{"postgresql:///db?host=%2Ftmp", "dbname=db host=/tmp"},
		{"postgresql://", ""},
	} {
		in, err := Parse(tc.in)
		if err != nil || in.String() != tc.want {
			t.Errorf("%q: %q, %v; want %q", tc.in, in.String(), err, tc.want)
		}
	}
	for _, bad := range []string{"host", "=x", "a'b=1", "host='x", "postgresql://h?x", "postgresql://h?a=%zz", "postgresql://%u@h"} {
		if in, err := Parse(bad); !errors.Is(err, ErrSyntax) || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %q, %v", bad, in.String(), err)
		}
	}
}

func TestFollow(t *testing.T) {
	old := "host=old hostaddr=10.0.0.1 port=1 user=rep password=secret sslmode=verify-full application_name=s1 target_session_attrs=primary"
	for _, tc := range []struct {
		name, old string
		to        cluster.Source
		want      string
	}{
		{"all else stays", old, cluster.Source{Host: "new", Port: 2}, "host=new port=2 user=rep password=secret sslmode=verify-full application_name=s1"},
		{"same user", old, cluster.Source{Host: "new", Port: 2, User: "rep"}, "host=new port=2 user=rep password=secret sslmode=verify-full application_name=s1"},
		{"another user", old, cluster.Source{Host: "new", Port: 2, User: "r2"}, "host=new port=2 user=r2 sslmode=verify-full application_name=s1"},
		{
			"all given", old,
			cluster.Source{Host: "/run", Port: 2, User: "r2", Password: "p w", ApplicationName: "s2"},
			"host=/run port=2 user=r2 sslmode=verify-full application_name=s2 password='p w'",
		},
		{"no standby before", "", cluster.Source{Host: "new", Port: 2, User: "rep"}, "host=new port=2 user=rep"},
	} {
		in, err := Parse(tc.old)
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Follow(tc.to); err != nil || in.String() != tc.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tc.name, err, in.String(), tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("host=a port='b c'")
	f.Add("postgresql://u:p@h:1/d?k=v")
	f.Fuzz(func(t *testing.T, s string) {
		in, err := Parse(s)
		if err != nil {
			return
		}
		text := in.String()
		again, err := Parse(text)
		if err != nil || again.String() != text {
			t.Fatalf("%q -> %q -> %q, %v", s, text, again.String(), err)
		}
	})
}
