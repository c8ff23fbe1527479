package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// place is one side of scp: a path here (host empty) or on another host.
type place struct{ user, host, path string }

// parsePlace reads "[[user@]host:]path". A slash before the colon makes it a path.
func parsePlace(text string) place {
	head, path, found := strings.Cut(text, ":")
	if !found || strings.Contains(head, "/") || head == "" {
		return place{path: text}
	}
	user, host, found := strings.Cut(head, "@")
	if !found {
		user, host = "", user
	}
	if path == "" {
		path = "."
	}
	return place{user: user, host: host, path: path}
}

func (p place) call() sshCall { return sshCall{user: p.user, host: p.host} }

// parseSCP reads a command line.
func parseSCP(args []string) (sources []place, target place, recursive bool, err error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		letters, _, rest, err := options(args, scpValues)
		if err != nil {
			return nil, place{}, false, err
		}
		recursive = recursive || strings.Contains(letters, "r")
		args = rest
	}
	if len(args) < 2 {
		return nil, place{}, false, errors.New("a source and a target are needed")
	}
	for _, arg := range args[:len(args)-1] {
		sources = append(sources, parsePlace(arg))
	}
	return sources, parsePlace(args[len(args)-1]), recursive, nil
}

// scp copies files, through tar. It fails with 1 like the real one, also for a host that cannot be reached.
func (s stub) scp(args []string) int {
	sources, target, recursive, err := parseSCP(args)
	if err != nil {
		return s.fail("scp", err, 1)
	}
	for _, source := range sources {
		if err := s.copy(source, target, recursive); err != nil {
			return s.fail("scp", err, 1)
		}
	}
	return 0
}

// copy packs the source and unpacks it at the target: below it if that is a directory, else under its name.
func (s stub) copy(source, target place, recursive bool) error {
	kind := "-f"
	if recursive {
		kind = "-e"
	}
	pack := fmt.Sprintf("test %s %[2]s || { echo %[2]s: no such file >&2; exit 1; }; tar -C \"$(dirname -- %[2]s)\" -cf - -- \"$(basename -- %[2]s)\"",
		kind, shellWord(source.path))
	name := filepath.Base(source.path)
	unpack := fmt.Sprintf("if test -d %[1]s; then tar -C %[1]s --no-same-owner -xf -; else tar -C \"$(dirname -- %[1]s)\" --no-same-owner "+
		"--transform=%[2]s -xf -; fi", shellWord(target.path), shellWord(rename(name, filepath.Base(target.path))))
	var archive bytes.Buffer
	if err := s.shell(source, pack, nil, &archive); err != nil {
		return err
	}
	return s.shell(target, unpack, &archive, io.Discard)
}

// rename is the expression by which tar gives the top of an archive another name.
func rename(from, to string) string {
	quote := strings.NewReplacer(`\`, `\\`, `|`, `\|`, `.`, `\.`, `[`, `\[`, `*`, `\*`, `^`, `\^`, `$`, `\$`, `&`, `\&`)
	return fmt.Sprintf(`s|^%s\(/.*\)\{0,1\}$|%s\1|`, quote.Replace(from), quote.Replace(to))
}

// shell runs a command at a place.
func (s stub) shell(p place, command string, in io.Reader, out io.Writer) error {
	if p.host == "" {
		cmd := exec.Command("/bin/sh", "-c", command)
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = in, out, s.stderr, os.Environ()
		return cmd.Run()
	}
	code, err := s.remote(p.call(), request{Command: command}, in, out)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	return err
}

func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
