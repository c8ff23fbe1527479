package authtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopgpool/auth"
)

// line is one combination of testdata/matrix.txt, whose head explains the words.
type line struct {
	table                              string // one letter
	number                             int
	hba, entry, server, client, others string
	want                               string
}

func (l line) String() string {
	return fmt.Sprintf("line %d: %s %s %s %s %s", l.number, l.hba, l.entry, l.server, l.client, l.others)
}

// in tells whether the right proof, or none, lets the client in.
func (l line) in() bool { return l.want == "in" || l.want == "open" || l.want == "cert" }

// option is one of the comma separated words of the column others.
func (l line) option(word string) bool { return slices.Contains(strings.Split(l.others, ","), word) }

// role is the user of this line; nobody else's rules, entries or roles have its name.
func (l line) role() string {
	clean := strings.NewReplacer("-", "", ":", "_", ",", "_", "+", "_", "off", "0")
	return l.table + fmt.Sprint(l.number) + "_" + clean.Replace(strings.Join([]string{l.hba, l.entry, l.server}, "_"))
}

// The users beside a line's own. All of them match its rule.
const (
	expired  = "_expired"  // like role, but VALID UNTIL is over
	nologin  = "_nologin"  // like role, but NOLOGIN
	stranger = "_stranger" // with an entry, but no server knows it
	unknown  = "_unknown"  // known to nobody
)

func (l line) users() []string {
	users := []string{l.role()}
	for _, suffix := range []string{expired, nologin, stranger, unknown} {
		users = append(users, l.role()+suffix)
	}
	return users
}

func (l line) database() string { return "at_" + l.server }

// passwdLine is a user's in pool_passwd.
func (l line) passwdLine(t *testing.T, user string) string {
	t.Helper()
	switch l.entry {
	case "plain":
		return user + ":" + password + "\n"
	case "text":
		return user + ":TEXT" + password + "\n"
	case "md5":
		return user + ":" + auth.MD5Hash(password, user) + "\n"
	case "scram":
		return user + ":" + verifier(t, "") + "\n"
	case "oldscram":
		return user + ":" + verifier(t, "old") + "\n"
	case "aes", "badaes":
		phrase := keyPhrase
		if l.entry == "badaes" {
			phrase = "another key"
		}
		encrypted, err := auth.NewKey(phrase).Encrypt(password)
		if err != nil {
			t.Fatal(err)
		}
		return user + ":AES" + encrypted + "\n"
	}
	return "" // none, query:...
}

// storedAs is password_encryption for the role on the server.
func (l line) storedAs() string {
	if l.server == "md5" || l.entry == "query:md5" {
		return "md5"
	}
	return "scram-sha-256"
}

// certificateOf is whose certificate the client shows; "" shows none.
func (l line) certificateOf() string {
	if strings.Contains(l.client, "cert") {
		return l.role()
	}
	return ""
}

// needsCertificate tells whether the rule asks for one.
func (l line) needsCertificate() bool {
	return l.hba == "cert" || l.hba == "map" || strings.HasPrefix(l.hba, "verify-")
}

// needsTLS tells whether the rule is for connections with TLS only.
func (l line) needsTLS() bool { return strings.HasPrefix(l.hba, "ssl:") || l.needsCertificate() }

// rule is the line's record in pool_hba.conf for its users; outside has the methods that other services judge.
func (l line) rule(t *testing.T, outside map[string]string) string {
	t.Helper()
	method := func(word string) string {
		if word == "scram" {
			return "scram-sha-256"
		}
		return word
	}
	users := strings.Join(l.users(), ",")
	before, after, found := strings.Cut(l.hba, ":")
	switch {
	case l.hba == "off":
		return ""
	case l.hba == "cert":
		return "hostssl all " + users + " 127.0.0.1/32 cert\n"
	case l.hba == "map":
		return "hostssl all " + users + " 127.0.0.1/32 cert map=staff\n"
	case l.hba == "peer":
		return "local all " + users + " peer map=machine\n"
	case l.hba == "samepeer":
		return "local all " + users + " peer\n"
	case outside[l.hba] != "":
		return "host all " + users + " 127.0.0.1/32 " + outside[l.hba] + "\n"
	case !found:
		return "host all " + users + " 127.0.0.1/32 " + method(before) + "\n"
	case before == "ssl":
		return "hostssl all " + users + " 127.0.0.1/32 " + method(after) + "\n"
	case before == "nossl":
		return "hostnossl all " + users + " 127.0.0.1/32 " + method(after) + "\n"
	case strings.HasPrefix(before, "verify-"):
		return "hostssl all " + users + " 127.0.0.1/32 " + method(after) + " clientcert=" + before + "\n"
	}
	t.Fatalf("%s: unknown rule", l)
	return ""
}

// every is how many lines of a table share one that is tried.
func every() int {
	switch {
	case testing.Short():
		return 8
	case os.Getenv(wholeEnv) != "" || os.Getenv(linesEnv) != "":
		return 1
	}
	return 2
}

// readLines reads a table, or so many of its lines as every says.
func readLines(t *testing.T, file string) (lines []line) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	seen := map[string]int{}
	for row := range strings.Lines(string(text)) {
		number++
		row, _, _ = strings.Cut(row, "#")
		fields := strings.Fields(row)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 6 {
			t.Fatalf("%s:%d: %d columns", file, number, len(fields))
		}
		l := line{filepath.Base(file)[:1], number, fields[0], fields[1], fields[2], fields[3], fields[4], fields[5]}
		key := strings.Join(fields[:5], " ")
		if seen[key] != 0 {
			t.Fatalf("%s:%d: the same as line %d", file, number, seen[key])
		}
		seen[key] = number
		if number%every() == 0 {
			lines = append(lines, l)
		}
	}
	return lines
}
