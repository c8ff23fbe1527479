package pgcluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNoServer says that no PostgreSQL server programs were found. Its text names the remedy.
var ErrNoServer = errors.New("no PostgreSQL server programs (initdb, postgres, pg_basebackup) found: " +
	"install them (Debian, Ubuntu: apt-get install postgresql postgresql-contrib) or name their directory in PGBIN")

// FindBinaries returns the directory of the server programs: dir if it is not empty, else $PGBIN, else what pg_config says,
// else the newest of the directories Debian and the PGDG packages use, else where PATH finds them. The error wraps
// [ErrNoServer] when there are none.
func FindBinaries(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("PGBIN")
	}
	if dir != "" {
		if !hasServer(dir) {
			return "", fmt.Errorf("%s: %w", dir, ErrNoServer)
		}
		return dir, nil
	}
	for _, dir := range candidateDirs() {
		if hasServer(dir) {
			return dir, nil
		}
	}
	return "", ErrNoServer
}

func candidateDirs() []string {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	var versioned []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"} {
		found, _ := filepath.Glob(pattern) // the only error is a bad pattern
		versioned = append(versioned, found...)
	}
	slices.SortStableFunc(versioned, func(a, b string) int { return majorIn(b) - majorIn(a) })
	dirs = append(dirs, versioned...)
	if path, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	return dirs
}

// majorIn returns the first number in a path like /usr/lib/postgresql/15/bin, 0 without one.
func majorIn(path string) int {
	digits := strings.TrimLeft(path, "/abcdefghijklmnopqrstuvwxyz-")
	end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}

func hasServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres", "pg_basebackup"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}
