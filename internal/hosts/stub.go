package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stubNames are the stand-ins, first in every PATH.
var stubNames = [...]string{"ssh", "scp", "sudo", "logger"}

// callRecord is a line of the call log: one when a stand-in starts, one with Exit when it ends.
type callRecord struct {
	PID     int
	Program string   `json:",omitempty"`
	User    string   `json:",omitempty"`
	Args    []string `json:",omitempty"`
	Exit    *int     `json:",omitempty"`
}

// stub is a running stand-in.
type stub struct {
	user   string
	in     io.Reader
	stdout io.Writer
	stderr io.Writer
}

// runStub does what the program of that name is there for and returns its exit status.
func runStub(name string, args []string) int {
	s := stub{user: currentUser(), in: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	record(callRecord{PID: os.Getpid(), Program: name, User: s.user, Args: args})
	code := 2
	switch name {
	case "ssh":
		code = s.ssh(args)
	case "scp":
		code = s.scp(args)
	case "sudo":
		code = s.sudo(args)
	case "logger":
		code = s.logger(args)
	}
	record(callRecord{PID: os.Getpid(), Exit: &code})
	return code
}

// record appends a line; the log is the test's, so its absence is no reason for a script to fail.
func record(r callRecord) {
	line, err := json.Marshal(r)
	if err != nil {
		return
	}
	appendFile(callsFile, append(line, '\n'))
}

func appendFile(path string, data []byte) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.Write(data) // as above
}

func currentUser() string {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return strconv.Itoa(os.Getuid())
	}
	return nameOf(os.Getuid(), string(passwd))
}

func nameOf(uid int, passwd string) string {
	for line := range strings.Lines(passwd) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == strconv.Itoa(uid) {
			return f[0]
		}
	}
	return strconv.Itoa(uid)
}

// sshCall is what stands on a command line of ssh.
type sshCall struct {
	user, host string
	command    string
	noInput    bool // -n, -f
	timeout    time.Duration
}

// Option letters of OpenSSH's client that take a value, and the ones of scp.
const (
	sshValues = "BbcDEeFIiJLlmOoPpQRSWw"
	scpValues = "cDFiJloPSX"
)

// parseSSH reads the command line. Options may stand before and behind the destination.
func parseSSH(args []string) (c sshCall, err error) {
	for len(args) > 0 {
		switch {
		case strings.HasPrefix(args[0], "-") && len(args[0]) > 1:
			var letters string
			letters, value, rest, err := options(args, sshValues)
			if err != nil {
				return c, err
			}
			args = rest
			c.option(letters, value)
		case c.host == "":
			user, host, found := strings.Cut(args[0], "@")
			if !found {
				user, host = c.user, user
			}
			c.user, c.host, args = user, host, args[1:]
		default:
			c.command = strings.Join(args, " ")
			return c, nil
		}
	}
	if c.host == "" {
		return c, errors.New("no destination")
	}
	return c, nil
}

// options takes the cluster of option letters at the front of args; value belongs to the last letter.
func options(args []string, withValue string) (letters, value string, rest []string, err error) {
	cluster := args[0][1:]
	for i := range len(cluster) {
		if !strings.ContainsRune(withValue, rune(cluster[i])) {
			continue
		}
		if i+1 < len(cluster) {
			return cluster[:i+1], cluster[i+1:], args[1:], nil
		}
		if len(args) < 2 {
			return "", "", nil, fmt.Errorf("option -%c needs a value", cluster[i])
		}
		return cluster, args[1], args[2:], nil
	}
	return cluster, "", args[1:], nil
}

func (c *sshCall) option(letters, value string) {
	if strings.ContainsAny(letters, "nf") {
		c.noInput = true
	}
	switch letters[len(letters)-1] {
	case 'l':
		c.user = value
	case 'o':
		if text, ok := cutOption(value, "ConnectTimeout"); ok {
			seconds, _ := strconv.Atoi(text) // 0, which means none, for what is no number
			c.timeout = time.Duration(seconds) * time.Second
		}
	}
}

// cutOption finds the value of "name=value" or "name value".
func cutOption(text, name string) (string, bool) {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		key, value, ok = strings.Cut(text, " ")
	}
	return strings.TrimSpace(value), ok && strings.EqualFold(strings.TrimSpace(key), name)
}

// ssh runs a command on another host. 255 is an unreachable host, as ever.
func (s stub) ssh(args []string) int {
	c, err := parseSSH(args)
	if err != nil {
		return s.fail("ssh", err, 255)
	}
	if c.command == "" {
		return s.fail("ssh", errors.New("no command, and there is no terminal"), 255)
	}
	in := s.in
	if c.noInput {
		in = nil
	}
	code, err := s.remote(c, request{Command: c.command}, in, s.stdout)
	if err != nil {
		return s.fail("ssh", err, 255)
	}
	return code
}

func (s stub) fail(program string, err error, code int) int {
	_, _ = fmt.Fprintf(s.stderr, "%s: %v\n", program, err) // the exit status says it too
	return code
}

// remote has req carried out on the host that c names.
func (s stub) remote(c sshCall, req request, in io.Reader, stdout io.Writer) (int, error) {
	ctx := context.Background()
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	req.User = c.user
	if req.User == "" {
		req.User = s.user
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", net.JoinHostPort(c.host, strconv.Itoa(sshPort)))
	if err != nil {
		return 0, fmt.Errorf("connect to host %s port %d: %w", c.host, sshPort, err)
	}
	defer conn.Close()
	code, err := call(conn, req, in, stdout, s.stderr)
	if err != nil {
		return 0, fmt.Errorf("host %s: %w", c.host, err)
	}
	return code, nil
}

// sudo runs a program as another user, root by default.
func (s stub) sudo(args []string) int {
	user := "root"
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "--" {
		letters, value, rest, err := options(args, "ugpCDhrtUT")
		if err != nil {
			return s.fail("sudo", err, 1)
		}
		if strings.HasSuffix(letters, "u") {
			user = value
		}
		args = rest
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return s.fail("sudo", errors.New("no command"), 1)
	}
	dir, err := os.Getwd()
	if err != nil {
		return s.fail("sudo", err, 1)
	}
	if user == s.user || os.Geteuid() == 0 {
		return s.fail("sudo", become(user, user != s.user, args), 1)
	}
	code, err := s.remote(sshCall{user: user, host: "127.0.0.1"}, request{Argv: args, Dir: dir}, s.in, s.stdout)
	if err != nil {
		return s.fail("sudo", err, 1)
	}
	return code
}

// become puts the program in this one's place, so that it gets the signals and keeps the descriptors and the directory.
func become(user string, change bool, args []string) error {
	env := os.Environ()
	if change {
		who, err := lookUpAccount(user)
		if err != nil {
			return err
		}
		if env, err = who.environment(nil), who.assume(); err != nil {
			return err
		}
	}
	return syscall.Exec("/usr/bin/env", append([]string{"env"}, args...), env)
}

// logger keeps what it is told in a file of the host.
func (s stub) logger(args []string) int {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		_, _, rest, err := options(args, "dfnpPStu")
		if err != nil {
			return s.fail("logger", err, 1)
		}
		args = rest
	}
	if len(args) > 0 {
		appendFile(loggerFile, []byte(strings.Join(args, " ")+"\n"))
		return 0
	}
	data, err := io.ReadAll(s.in)
	if err != nil {
		return s.fail("logger", err, 1)
	}
	if len(data) > 0 && !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data, '\n')
	}
	appendFile(loggerFile, data)
	return 0
}
