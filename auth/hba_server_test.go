package auth_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/auth"
	"gopgpool/internal/pgcluster"
)

// sameRules are lines that PostgreSQL 15 and we understand alike, or refuse with the same words.
const sameRules = `# comment
local   all  all trust
host a,b, c  "u 1",+g  10.1.0.0/16 md5
hostssl all all 10.1.2.0 255.255.255.0 scram-sha-256
hostnossl sameuser all ::1/128 password
host samerole,samegroup all fe80::/10 reject
host all all samehost md5
host all all samenet md5
host all all .example.com md5
host all all all md5
hostnogssenc all all all md5
hostssl all all all cert map=m
hostssl all all all md5 clientcert=verify-ca
local all \
   all \
   peer map="a b"
local all "a#b" trust # c
local all a"b c"d trust
local x""y "x""y" trust
foo all all trust
local,host all all trust
local
local all
local all all
host all all
host all all 10.0.0.1
host all all 10.0.0.1 ::1 trust
host all all 10.0.0.1/33 trust
host all all db.example/8 trust
local all all nothing
local all all md5 map
local all all md5 no=x
host all all all peer
hostssl all all all cert clientcert=verify-ca
host all all all md5 clientcert=verify-ca
host all all 1.2.3.4/32,1.2.3.5/32 trust
host all all 1.2.3.4 255.0.0.0,255.0.0.0 trust
local all all md5,trust
local all \
  all
local all all trust
`

// TestHBALikePostgreSQL compares with the server's view pg_hba_file_rules.
func TestHBALikePostgreSQL(t *testing.T) {
	node := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1}).Nodes[0]
	conn, err := node.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var path string
	if err := conn.QueryRow(t.Context(), "SHOW hba_file").Scan(&path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(sameRules), 0o644); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT line_number || ' ' || coalesce(error, concat_ws(' ', type, array_to_string(database, '|'),
		array_to_string(user_name, '|'), address, netmask, auth_method)) FROM pg_hba_file_rules ORDER BY line_number`)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(want) < 30 {
		t.Fatal(len(want), err)
	}
	if got := understood(t, sameRules); !slices.Equal(got, want) {
		t.Errorf("\n%s\nPostgreSQL:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// understood parses each line by itself, as the server does: here a bad one spoils the file.
func understood(t *testing.T, text string) (list []string) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		number, line := i+1, lines[i]
		for strings.HasSuffix(line, `\`) {
			i++
			line += "\n" + lines[i]
		}
		rules, errs := auth.ParseHBA("h", []byte(line), auth.Files{}, auth.HBAOptions{})
		notices := rules.Notices(false, true) // the server tells them as errors
		for _, n := range notices {
			list = append(list, fmt.Sprint(number, " ", n.Text))
		}
		for _, r := range rules.List()[len(notices):] {
			fields := []string{r.Type.String(), texts(r.Databases), texts(r.Users)}
			for _, f := range []string{r.Address(), r.Netmask(), r.Method.String()} {
				if f != "" {
					fields = append(fields, f)
				}
			}
			list = append(list, fmt.Sprint(number, " ", strings.Join(fields, " ")))
		}
		for _, err := range errs {
			var e *auth.HBAError
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			if e.Line > 0 { // not the comment's: no entries
				list = append(list, fmt.Sprint(number, " ", e.Text))
			}
		}
	}
	return list
}

func texts(list []auth.Token) string {
	var words []string
	for _, t := range list {
		words = append(words, t.Text)
	}
	return strings.Join(words, "|")
}
