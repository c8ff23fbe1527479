package main

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"gopgpool/internal/terminal"
)

// Set by the linker (-ldflags "-X main.version=... -X main.sysconfdir=..."), never by the program.
var (
	version    = "0.6.0"
	sysconfdir = "" // "" looks for the directory a package of Pgpool-II uses
)

// Longer passwords than Pgpool-II takes; what a terminal hands over in one line is longer still, so that nothing is cut unseen.
const (
	maxPassword = 2048
	maxUsername = 128
)

func main() {
	i := &invocation{
		called: os.Args[0], stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
		ask: askTerminal, owner: userName, home: homeDirectory,
	}
	os.Exit(i.run(os.Args[1:]))
}

// invocation is one run of a program.
type invocation struct {
	called         string // argument 0
	stdout, stderr io.Writer
	getenv         func(string) string
	ask            func(text string) (string, error)
	owner          func() (string, error) // the user an entry is for unless an option names one
	home           func() string
}

// run returns the exit status.
func (i *invocation) run(args []string) int {
	if filepath.Base(i.called) == "pg_md5" {
		return i.status(i.hash(args))
	}
	return i.status(i.encrypt(args))
}

func (i *invocation) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(i.stdout, format, args...) // a reader that has gone wants no more
}

func (i *invocation) say(format string, args ...any) {
	_, _ = fmt.Fprintf(i.stderr, format, args...) // there is no other place to complain
}

// askTerminal asks on the terminal that is stdin; the question is seen on stdout.
func askTerminal(text string) (string, error) {
	if !terminal.Is(os.Stdin) {
		return "", errNoTerminal
	}
	return terminal.Ask(os.Stdin, os.Stdout, text)
}

// userName is the name of the real user, from the user database.
func userName() (string, error) {
	u, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil {
		return "", fmt.Errorf("could not find the name of the operating system's user, use -u: %w", err)
	}
	return u.Username, nil
}

// homeDirectory is that of the effective user; the environment is not considered.
func homeDirectory() string {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return ""
	}
	return u.HomeDir
}
