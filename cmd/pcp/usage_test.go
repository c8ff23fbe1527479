package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	tryNodeCount = "Try \"pcp_node_count --help\" for more information.\n"
	noSocket     = "ERROR: connection to socket \"/nosuch/.s.PGSQL.9898\" failed with error \"No such file or directory\"\n"
)

// Manual, PCP commands: what is wrong with a command line is told on stderr, in words and with an exit status that scripts know.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	missing := func(name string) string {
		return name + ": missing node-id\nTry \"" + name + " --help\" for more information.\n\n"
	}
	for _, tc := range []struct {
		args   string // "_" is an empty argument
		stderr string
		status int
	}{
		{"pcp_node_info -p 80", `pcp_node_info: Invalid port number "80", must be between 1024 and 65535` + "\n", 0},
		{"pcp_node_info -p 1024", `pcp_node_info: Invalid port number "1024", must be between 1024 and 65535` + "\n", 0},
		{"pcp_node_info -p 65536", `pcp_node_info: Invalid port number "65536", must be between 1024 and 65535` + "\n", 0},
		{"pcp_node_info -p 80 -n 200 -q", `pcp_node_info: Invalid port number "80", must be between 1024 and 65535` + "\n", 0},
		{"pcp_node_info -n 200 -p 80", `pcp_node_info: Invalid node-id "200", must be between 0 and 128` + "\n", 0},
		{"pcp_node_info -n 129 --strict", `pcp_node_info: Invalid node-id "129", must be between 0 and 128` + "\n", 1},
		{"pcp_node_info --strict -n -1", `pcp_node_info: Invalid node-id "-1", must be between 0 and 128` + "\n", 1},
		{"pcp_node_info -- -1 --strict", `pcp_node_info: Invalid node-id "-1", must be between 0 and 128` + "\n", 0},
		{"pcp_attach_node 200", `pcp_attach_node: Invalid node-id "200", must be between 0 and 128` + "\n", 0},
		{"pcp_promote_node -s -n x", `pcp_promote_node: Invalid node-id "x", must be between 0 and 128` + "\n", 1},
		{"pcp_detach_node node1", `pcp_detach_node: Invalid node-id "node1", must be between 0 and 128` + "\n", 1},
		{"pcp_attach_node 1x", `pcp_attach_node: Invalid node-id "1x", must be between 0 and 128` + "\n", 1},
		{"pcp_attach_node -n 99999999999999999999", `pcp_attach_node: Invalid node-id "99999999999999999999", must be between 0 and 128` + "\n", 0},
		{"pcp_proc_info --node-id=200", `pcp_proc_info: Invalid node-id "200", must be between 0 and 128` + "\n", 0},
		{
			"pcp_watchdog_info -n -1",
			`pcp_watchdog_info: Invalid watchdog-id "-1", must be a positive number or zero for a local watchdog node` + "\n", 0,
		},
		{"pcp_watchdog_info --layout=3.7", `pcp_watchdog_info: Invalid layout "3.7", must be 4.7, 4.2 or 4.1` + "\n", 1},
		{"pcp_node_count --layout=4.1", "pcp_node_count: unrecognized option '--layout=4.1'\n" + tryNodeCount + "\n", 1},
		{"pcp_proc_info -P 0", `pcp_proc_info: Invalid process-id "0", must be greater than 0` + "\n", 0},
		{"pcp_proc_info abc", `pcp_proc_info: Invalid process-id "abc", must be greater than 0` + "\n", 0},
		{
			"pcp_reload_config -s q", `pcp_reload_config: Invalid command scope "q", must be either "cluster" or "local" ` + "\n", 1,
		},
		{
			"pcp_stop_pgpool -m S",
			`pcp_stop_pgpool: Invalid shutdown mode "S", must be either "smart" "immediate" or "fast" ` + "\n", 1,
		},
		{
			"pcp_stop_pgpool -m _",
			`pcp_stop_pgpool: Invalid shutdown mode "", must be either "smart" "immediate" or "fast" ` + "\n", 1,
		},
		{"pcp_node_count --mode=s", `Invalid argument "s", ` + tryNodeCount, 1},
		{"pcp_node_count --scope=l", `Invalid argument "l", ` + tryNodeCount, 1},
		{"pcp_node_count --switchover", `Invalid argument "--switchover", ` + tryNodeCount, 1},
		{"pcp_promote_node --scope=l 1", "Invalid argument \"l\", Try \"pcp_promote_node --help\" for more information.\n", 1},
		{
			"pcp_invalidate_query_cache -s l",
			"Invalid argument \"l\", Try \"pcp_invalidate_query_cache --help\" for more information.\n", 1,
		},
		{"pcp_attach_node -w", missing("pcp_attach_node"), 1},
		{"pcp_attach_node --process-id=3", missing("pcp_attach_node"), 1},
		{"pcp_detach_node -g", missing("pcp_detach_node"), 1},
		{"pcp_promote_node -s", missing("pcp_promote_node"), 1},
		{"pcp_recovery_node", missing("pcp_recovery_node"), 1},
		{"pcp_health_check_stats -v", missing("pcp_health_check_stats"), 1},
		{"/opt/bin/pcp_node_count -q", "/opt/bin/pcp_node_count: invalid option -- 'q'\n" + tryNodeCount + "\n", 1},
		{"pcp_node_count -n 3", "pcp_node_count: invalid option -- 'n'\n" + tryNodeCount + "\n", 1},
		{"pcp_node_count -m s", "pcp_node_count: invalid option -- 'm'\n" + tryNodeCount + "\n", 1},
		{"pcp_node_count -s l", "pcp_node_count: invalid option -- 's'\n" + tryNodeCount + "\n", 1},
		{"pcp_node_count -p", "pcp_node_count: option requires an argument -- 'p'\n" + tryNodeCount + "\n", 1},
		{"pcp_node_count --port", "pcp_node_count: option '--port' requires an argument\n" + tryNodeCount + "\n", 1},
		{"pcp_node_count --nope=1", "pcp_node_count: unrecognized option '--nope=1'\n" + tryNodeCount + "\n", 1},
		{"pcp_node_count --verbose=1", "pcp_node_count: option '--verbose' doesn't allow an argument\n" + tryNodeCount + "\n", 1},
		{
			"pcp_node_count --p=3",
			"pcp_node_count: option '--p=3' is ambiguous; possibilities: '--port' '--process-id' '--password'\n" + tryNodeCount + "\n", 1,
		},
		{"pcp_node_count -w --help", tryNodeCount + "\n", 1},
		{"pcp_node_count -w --version", tryNodeCount + "\n", 1},
		{"pcp_node_count --hel", tryNodeCount + "\n", 1},
		{"pcp_node_count -w -?", "pcp_node_count: invalid option -- '?'\n" + tryNodeCount + "\n", 1},
		{"pcp_foo --help", "pcp_foo is a invalid PCP utility\n", 1},
		{"pcp foo", "pcp_foo is a invalid PCP utility\n", 1},
		{"pcp", overview(), 1},
		{"pcp -h x", overview(), 1},
		{"pcp_node_count -V", versionText("pcp_node_count"), 0},
		{"pcp node_count --version", versionText("pcp_node_count"), 0},
		{"pcp_proc_info --help x", findProgram("pcp_proc_info").usage(), 0},
		{"pcp_proc_info -?", findProgram("pcp_proc_info").usage(), 0},

		// What is right gets as far as the socket.
		{"pcp_node_info -w -h /nosuch -n 1", noSocket, 1},
		{"pcp_node_info -w -h /nosuch -n 128", noSocket, 1},
		{"pcp_node_info -w -h /nosuch --watchdog-id=1", noSocket, 1},
		{"pcp_watchdog_info -w -h /nosuch --node-id=200", noSocket, 1},
		{"pcp_node_count -w -h /nosuch/ --all --gracefully --node-id=3 --process-id=3", noSocket, 1},
		{"pcp_stop_pgpool -awh /nosuch --mode=immediate --scope cluster", noSocket, 1},
		{"pcp node_count --no-p -h/nosuch -p9898x", noSocket, 1},
		{
			"pcp_node_info -w -h /nosuch 1 b -- -c",
			"pcp_node_info: Warning: extra command-line argument \"b\" ignored\n" +
				"pcp_node_info: Warning: extra command-line argument \"-c\" ignored\n" + noSocket, 1,
		},
		{
			"pcp_attach_node -w -h /nosuch -n 1 2",
			"pcp_attach_node: Warning: extra command-line argument \"2\" ignored\n" + noSocket, 1,
		},
		{"pcp_node_count -h /nosuch -W", "Password: \n" + noSocket, 1},
		{"pcp_node_count -h /nosuch", "Password: \n" + noSocket, 1},
		{
			"pcp_node_count -w -h nosuch.invalid.",
			"ERROR: getaddrinfo failed \"Name or service not known\"\n", 1,
		},
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(tc.args)
			for i := range args {
				args[i] = strings.TrimSuffix(args[i], "_")
			}
			r := execute(t, "", nil, args...)
			if strings.Contains(tc.stderr, "getaddrinfo") {
				r.stderr = strings.Replace(r.stderr, "Temporary failure in name resolution", "Name or service not known", 1)
			}
			if r.stderr != tc.stderr || r.status != tc.status || r.stdout != "" {
				t.Errorf("exit %d, stdout %q, stderr:\n%swant exit %d:\n%s", r.status, r.stdout, r.stderr, tc.status, tc.stderr)
			}
		})
	}
}

// Debian's package keeps the socket elsewhere than the programs look: both places are tried, and told.
func TestBothSocketDirectoriesAreTried(t *testing.T) {
	t.Parallel()
	r := execute(t, "", nil, "pcp_node_count", "-w", "-p", "21399")
	want := "ERROR: connection to socket \"/tmp/.s.PGSQL.21399\" failed with error \"No such file or directory\"\n" +
		"ERROR: connection to socket \"/var/run/postgresql/.s.PGSQL.21399\" failed with error \"No such file or directory\"\n"
	if r.stderr != want || r.status != 1 {
		t.Errorf("exit %d: %s", r.status, r.stderr)
	}
}

func TestSocketsAreTriedInOrder(t *testing.T) {
	t.Parallel()
	empty, dir := t.TempDir(), t.TempDir()
	startServer(t, "unix", filepath.Join(dir, ".s.PGSQL.9898"), captured())
	stale := filepath.Join(empty, ".s.PGSQL.9899")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	i := &invocation{}
	c, err := connectSockets(t.Context(), []string{empty, dir}, 9898, i.tracing(options{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Authenticate(t.Context(), testUser, testPassword); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	// A socket that nobody listens at is that of a server that crashed: another one is not meant.
	_, err = connectSockets(t.Context(), []string{empty, dir}, 9899, i.tracing(options{}))
	want := "ERROR: connection to socket \"" + stale + "\" failed with error \"Connection refused\"\n"
	if err == nil || errorText(err) != want {
		t.Errorf("%v", err)
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startServer(t, "unix", filepath.Join(dir, ".s.PGSQL.9898"), captured())
	six := startServer(t, "tcp", "[::1]:0", captured())
	for _, args := range [][]string{{"-h", dir}, {"-h", dir + "/"}, {"-h", "::1", "-p", strconv.Itoa(six.port)}} {
		r := execute(t, testPassword+"\n", nil, append([]string{"pcp_node_count", "-U", testUser}, args...)...)
		if (r != result{"2\n", "Password: \n", 0}) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	four := startServer(t, "tcp", "127.0.0.1:0", captured())
	for _, user := range []string{"", strings.Repeat("u", 127)} {
		r := execute(t, "", nil, "pcp_node_count", "-w", "-h", "localhost", "-p", strconv.Itoa(four.port), "-U", user)
		want := "FATAL:  authentication failed for user \"" + user + "\"\nDETAIL:  username and/or password does not match\n\n"
		if (r != result{"", want, 1}) {
			t.Errorf("user %q: %+v", user, r)
		}
	}
	r := execute(t, "", nil, "pcp_node_count", "-w", "-h", "127.0.0.1", "-p", strconv.Itoa(four.port), "-U", strings.Repeat("u", 128))
	if (r != result{"", "ERROR: PCP authorization failed. username too long.\n", 1}) {
		t.Errorf("%+v", r)
	}
}

// Manual, PCP password file.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", "127.0.0.1:0", captured())
	port := strconv.Itoa(s.port)
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good", "127.0.0.1:"+port+":"+testUser+":"+testPassword+"\n", 0o600)
	wrong := file("wrong", "*:*:*:wrong\n", 0o600)
	open := file("open", "*:*:*:"+testPassword+"\n", 0o640)
	const ask = "Password: \n"
	const refused = "FATAL:  authentication failed for user \"pcpadm\"\nDETAIL:  username and/or password does not match\n\n"
	openWarning := "WARNING: password file \"" + open + "\" has group or world access; permissions should be u=rw (0600) or less\n"
	for _, tc := range []struct {
		name, file, stdin, option string
		want                      result
	}{
		{"found", good, "", "-v", result{"Node Count\n____________\n 2\n", "", 0}},
		{"found, never ask", good, "", "-w", result{"2\n", "", 0}},
		{"found, ask nevertheless", good, "wrong\n", "-W", result{"", ask + refused, 1}},
		{"wrong", wrong, testPassword + "\n", "-v", result{"", refused, 1}},
		{"not found", "/nonexistent", testPassword + "\n", "--strict", result{"2\n", ask, 0}},
		{"not found, never ask", "/nonexistent", testPassword + "\n", "-w", result{"", refused, 1}},
		{"readable for others", open, "", "-w", result{"", openWarning + refused, 1}},
		{"readable for others, ask", open, testPassword, "--strict", result{"2\n", openWarning + ask, 0}},
		{"directory", dir, "", "-w", result{"", "WARNING: password file \"" + dir + "\" is not a plain file\n" + refused, 1}},
	} {
		r := execute(t, tc.stdin, []string{"PCPPASSFILE=" + tc.file},
			"pcp_node_count", "-h", "127.0.0.1", "-p", port, "-U", testUser, tc.option)
		if r != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, r, tc.want)
		}
	}
}

func TestFindPassword(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		lines, host, port, user string
		want                    string
		found                   bool
	}{
		{"h:1:u:p", "h", "1", "u", "p", true},
		{"h:1:u:p\r\n", "h", "1", "u", "p", true},
		{"h:1:u:", "h", "1", "u", "", true},
		{"h:1:u", "h", "1", "u", "", false},
		{"h:1:u:p:more", "h", "1", "u", "p", true},
		{"h:1:u:p", "g", "1", "u", "", false},
		{"h:1:u:p", "h", "2", "u", "", false},
		{"h:1:u:p", "h", "1", "v", "", false},
		{"*:*:*:p", "h", "1", "u", "p", true},
		{`\*:*:*:p`, "h", "1", "u", "", false},
		{`\*:*:*:p`, "*", "1", "u", "p", true},
		{"# h:1:u:x\n\nh:1:u:first\nh:1:u:second", "h", "1", "u", "first", true},
		{"#h:1:u:p", "#h", "1", "u", "", false},
		{`\::1:a\\b:c\:d\\e\`, ":", "1", `a\b`, `c:d\e\`, true},
		{`::1:9898:u:p`, "::1", "9898", "u", "", false},
		{`\:\:1:9898:u:p`, "::1", "9898", "u", "p", true},
		{" h:1:u:p", "h", "1", "u", "", false},
		{"", "h", "1", "u", "", false},
	} {
		got, found, err := findPassword(strings.NewReader(tc.lines), tc.host, tc.port, tc.user)
		if got != tc.want || found != tc.found || err != nil {
			t.Errorf("%q: %q, %t, %v", tc.lines, got, found, err)
		}
	}
	if _, _, err := findPassword(strings.NewReader(strings.Repeat("x", 2<<20)), "h", "1", "u"); err == nil {
		t.Error("a line without an end is taken")
	}
	for host, want := range map[string]string{
		"": "localhost", "/tmp": "localhost", "/tmp/": "localhost", "/var/run/postgresql": "/var/run/postgresql", "h": "h",
	} {
		if got := passwordHost(host); got != want {
			t.Errorf("%q is %q in the file", host, got)
		}
	}
}

func FuzzFindPassword(f *testing.F) {
	f.Add("h:1:u:p\n*:*:*:q", "h", "1", "u")
	f.Fuzz(func(t *testing.T, lines, host, port, user string) {
		if _, found, err := findPassword(strings.NewReader(lines), host, port, user); found && err != nil {
			t.Error("found, and an error")
		}
	})
}
