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
	"time"
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

// scpCall is what stands on a command line of scp.
type scpCall struct {
	sources   []place
	target    place
	recursive bool
	timeout   time.Duration
}

func parseSCP(args []string) (c scpCall, err error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		letters, value, rest, err := options(args, scpValues)
		if err != nil {
			return c, err
		}
		var o sshCall
		o.option(letters, value)
		c.timeout = max(c.timeout, o.timeout)
		c.recursive = c.recursive || strings.Contains(letters, "r")
		args = rest
	}
	if len(args) < 2 {
		return c, errors.New("a source and a target are needed")
	}
	for _, arg := range args[:len(args)-1] {
		c.sources = append(c.sources, parsePlace(arg))
	}
	c.target = parsePlace(args[len(args)-1])
	return c, nil
}

// scp copies files, through tar. It fails with 1 like the real one, also for a host that cannot be reached.
func (s stub) scp(args []string) int {
	c, err := parseSCP(args)
	if err != nil {
		return s.fail("scp", err, 1)
	}
	for _, source := range c.sources {
		if err := s.copy(c, source); err != nil {
			return s.fail("scp", err, 1)
		}
	}
	return 0
}

// copy packs the source and unpacks it at the target: below it if that is a directory, else under its name.
func (s stub) copy(c scpCall, source place) error {
	target, kind := c.target, "-f"
	if c.recursive {
		kind = "-e"
	}
	pack := fmt.Sprintf("test %s %[2]s || { echo %[2]s: no such file >&2; exit 1; }; "+
		"tar -C \"$(dirname -- %[2]s)\" -cf - -- \"$(basename -- %[2]s)\"", kind, shellWord(source.path))
	name := filepath.Base(source.path)
	unpack := fmt.Sprintf("if test -d %[1]s; then tar -C %[1]s --no-same-owner -xf -; "+
		"else tar -C \"$(dirname -- %[1]s)\" --no-same-owner --transform=%[2]s -xf -; fi",
		shellWord(target.path), shellWord(rename(name, filepath.Base(target.path))))
	var archive bytes.Buffer
	if err := s.shell(c, source, pack, nil, &archive); err != nil {
		return err
	}
	return s.shell(c, target, unpack, &archive, io.Discard)
}

// rename is the expression by which tar gives the top of an archive another name.
func rename(from, to string) string {
	quote := strings.NewReplacer(`\`, `\\`, `|`, `\|`, `.`, `\.`, `[`, `\[`, `*`, `\*`, `^`, `\^`, `$`, `\$`, `&`, `\&`)
	return fmt.Sprintf(`s|^%s\(/.*\)\{0,1\}$|%s\1|`, quote.Replace(from), quote.Replace(to))
}

// shell runs a command at a place.
func (s stub) shell(c scpCall, p place, command string, in io.Reader, out io.Writer) error {
	if p.host == "" {
		cmd := exec.Command("/bin/sh", "-c", command)
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = in, out, s.stderr, os.Environ()
		return cmd.Run()
	}
	code, err := s.remote(sshCall{user: p.user, host: p.host, timeout: c.timeout}, request{Command: command}, in, out)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit status %d", code)
	}
	return err
}

func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
