package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// account is the operating system's user.
type account struct{ name, home string }

// currentUser asks the user database; the environment is not considered, as in Pgpool-II.
func currentUser() (account, error) {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return account{}, fmt.Errorf("could not find the name of the operating system's user: %w", err)
	}
	return account{name: u.Username, home: u.HomeDir}, nil
}

// password finds the password: in the file, else by asking (manual: PCP password file). With -W it is asked for in any case; with -w
// never, it is empty then.
func (i *invocation) password(o options, me account) (string, error) {
	if !o.askAlways {
		password, found, err := i.filedPassword(o, me)
		if found || err != nil || o.noPrompt {
			return password, err
		}
	}
	return i.prompt("Password: ")
}

// filedPassword looks into the password file. A file that others can read is not used.
func (i *invocation) filedPassword(o options, me account) (password string, found bool, err error) {
	path := i.getenv("PCPPASSFILE")
	if path == "" && me.home != "" {
		path = filepath.Join(me.home, ".pcppass")
	}
	if path == "" {
		return "", false, nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return "", false, nil // most people have none
	}
	if complaint := badPasswordFile(path, st.Mode()); complaint != "" {
		i.say("WARNING: %s\n", complaint)
		return "", false, nil
	}
	f, err := os.Open(path)
	if err != nil {
		i.say("WARNING: %v\n", err)
		return "", false, nil
	}
	defer f.Close() // only read
	return findPassword(f, passwordHost(o.host), strconv.Itoa(o.port), *o.username)
}

func badPasswordFile(path string, mode fs.FileMode) string {
	switch {
	case !mode.IsRegular():
		return "password file " + quote(path) + " is not a plain file"
	case mode.Perm()&0o077 != 0:
		return "password file " + quote(path) + " has group or world access; permissions should be u=rw (0600) or less"
	}
	return ""
}

// passwordHost is the name by which the file knows a host: the socket in its default place is localhost.
func passwordHost(host string) string {
	if host == "" || strings.TrimSuffix(host, "/") == socketDirs()[0] {
		return "localhost"
	}
	return host
}

// findPassword takes the password of the first line that fits: host:port:user:password, where * stands for anything and a backslash
// takes the meaning from the character behind it.
func findPassword(file io.Reader, host, port, user string) (password string, found bool, err error) {
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := splitPasswordLine(lines.Text())
		if len(f) >= 4 && fits(f[0], host) && fits(f[1], port) && fits(f[2], user) {
			return f[3].text, true, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", false, fmt.Errorf("password file: %w", err)
	}
	return "", false, nil
}

// passwordField is a field of a line; any is true for an asterisk without a backslash.
type passwordField struct {
	text string
	any  bool
}

func fits(f passwordField, value string) bool { return f.any || f.text == value }

func splitPasswordLine(line string) []passwordField {
	line = strings.TrimSuffix(line, "\r")
	if strings.HasPrefix(line, "#") {
		return nil
	}
	var fields []passwordField
	var text strings.Builder
	start := 0
	end := func(at int) {
		fields = append(fields, passwordField{text.String(), line[start:at] == "*"})
		text.Reset()
		start = at + 1
	}
	for at := 0; at < len(line); at++ {
		switch c := line[at]; {
		case c == '\\' && at+1 < len(line):
			at++
			text.WriteByte(line[at])
		case c == ':':
			end(at)
		default:
			text.WriteByte(c)
		}
	}
	end(len(line))
	return fields
}
