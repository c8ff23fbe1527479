package hosts

import (
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

func (a account) attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid}}
}

func TestParseSSH(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string
		want sshCall
		err  string
	}{
		{"server1 ls /tmp", sshCall{host: "server1", command: "ls /tmp"}, ""},
		{"-T postgres@server1 ls", sshCall{user: "postgres", host: "server1", command: "ls"}, ""},
		{
			"-T -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i key -p 2222 postgres@server1 a -b c",
			sshCall{user: "postgres", host: "server1", command: "a -b c"},
			"",
		},
		{"-nTi key -oConnectTimeout=3 server1 ls", sshCall{host: "server1", command: "ls", noInput: true, timeout: 3 * time.Second}, ""},
		{"server1 -n -l root ls -l", sshCall{user: "root", host: "server1", command: "ls -l", noInput: true}, ""},
		{"-l root server1 ls", sshCall{user: "root", host: "server1", command: "ls"}, ""},
		{"-T", sshCall{}, "no destination"},
		{"-i", sshCall{}, "option -i needs a value"},
	} {
		got, err := parseSSH(strings.Fields(tc.args))
		if tc.err != "" {
			if err == nil || err.Error() != tc.err {
				t.Errorf("ssh %s: error %v, want %s", tc.args, err, tc.err)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("ssh %s: %+v, %v, want %+v", tc.args, got, err, tc.want)
		}
	}
}

func TestParsePlace(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]place{
		"file":            {path: "file"},
		"/a/b:c":          {path: "/a/b:c"},
		"server1:/a/b":    {host: "server1", path: "/a/b"},
		"root@server1:/a": {user: "root", host: "server1", path: "/a"},
		"server1:":        {host: "server1", path: "."},
		":x":              {path: ":x"},
	} {
		if got := parsePlace(text); got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
}

func TestParseCalls(t *testing.T) {
	t.Parallel()
	got, err := parseCalls([]byte(`{"PID":7,"Program":"ssh","User":"postgres","Args":["server1","true"]}
{"PID":8,"Program":"scp","User":"root"}
{"PID":7,"Exit":255}
{"PID":7,"Program":"sudo"}
`))
	want := []Call{
		{Program: "ssh", User: "postgres", Args: []string{"server1", "true"}, Exit: 255},
		{Program: "scp", User: "root", Running: true, Exit: -1},
		{Program: "sudo", Running: true, Exit: -1},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestParseAccount(t *testing.T) {
	t.Parallel()
	const passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104::/var/lib/postgresql:/bin/sh\n"
	const group = "postgres:x:104:\nssl-cert:x:103:a,postgres\nother:x:9:postgresql\n"
	got, err := parseAccount("postgres", passwd, group)
	want := account{name: "postgres", home: "/var/lib/postgresql", shell: "/bin/sh", uid: 101, gid: 104, groups: []uint32{103}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseAccount("nobody", passwd, group); err == nil {
		t.Error("found a user that is not there")
	}
	if got := nameOf(101, passwd); got != "postgres" {
		t.Errorf("user 101 is %s", got)
	}
}

func TestSSH(t *testing.T) {
	w := StartTest(t, Options{Hosts: specs("a", "b"), Users: []string{"postgres"}, Path: []string{"/opt/tools"}})
	a, b := w.Host("a"), w.Host("b")
	for _, tc := range []struct{ user, command, want string }{
		{"root", "ssh b hostname", "b"},
		{"postgres", "ssh -T -o StrictHostKeyChecking=no -i ~/.ssh/id_rsa_pgpool postgres@b 'hostname; id -un; pwd'", "b\npostgres\n/var/lib/postgresql"},
		{"postgres", "ssh root@b id -un", "root"},
		{"root", "ssh -l postgres b 'id -Gn'", run(t, a, "root", "id -Gn postgres")},
		{"root", "echo 'hello  there' | ssh b cat", "hello  there"},
		{"root", "echo hello | ssh -n b cat", ""},
		{"root", `ssh b 'echo "$HOME $PATH"'`, "/root " + stubDir + ":/opt/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		{"root", "ssh b 'echo out; echo err >&2' 2>/dev/null", "out"},
		{"root", "ssh b 'exit 7'; echo $?", "7"},
		{"root", "ssh b no-such-program 2>/dev/null; echo $?", "127"},
		{"root", "ssh b 'kill -9 $$'; echo $?", "255"},
		{"root", "ssh b 'ssh a hostname'", "a"},
		{"root", "ssh -T nowhere true 2>&1 | sed 's/:.*//'; ssh nowhere true 2>/dev/null; echo $?", "ssh\n255"},
		{"root", "head -c 3000000 /dev/zero | ssh b 'cat | wc -c'", "3000000"},
		// Output that a background process holds keeps the session open; if it does not, the session ends at once.
		{"root", "ssh b 'sleep 0.3 & echo 1'", "1"},
		{"root", "timeout 60 ssh b 'sleep 1000 >/dev/null 2>&1 </dev/null & echo 1'", "1"},
	} {
		if got := run(t, a, tc.user, tc.command); got != tc.want {
			t.Errorf("%s: %s\n%q, want %q", tc.user, tc.command, got, tc.want)
		}
	}
	if err := b.RefuseSSH(true); err != nil {
		t.Fatal(err)
	}
	if got := status(t, a, "root", "ssh b true"); got != "255" {
		t.Errorf("ssh to a host that lets nobody in: %s", got)
	}
	if err := b.RefuseSSH(false); err != nil {
		t.Fatal(err)
	}
	if err := b.Cut(); err != nil {
		t.Fatal(err)
	}
	if got := status(t, a, "root", "ssh -o ConnectTimeout=1 b true"); got != "255" {
		t.Errorf("ssh to a host that is cut off: %s", got)
	}
}

func TestCallsAreWrittenDown(t *testing.T) {
	w := start(t, "a", "b")
	a := w.Host("a")
	run(t, a, "daemon", "ssh -T root@b 'exit 3' || sudo true; logger 'a b' c; echo ' piped' | logger -t tag")
	got, err := a.Calls()
	want := []Call{
		{Program: "ssh", User: "daemon", Args: []string{"-T", "root@b", "exit 3"}, Exit: 3},
		{Program: "sudo", User: "daemon", Args: []string{"true"}},
		{Program: "logger", User: "daemon", Args: []string{"a b", "c"}},
		{Program: "logger", User: "daemon", Args: []string{"-t", "tag"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if text, err := a.Logged(); err != nil || text != "a b c\n piped\n" {
		t.Errorf("logger: %q, %v", text, err)
	}
}

func TestSudo(t *testing.T) {
	w := start(t, "a")
	for _, tc := range []struct{ user, command, want string }{
		{"daemon", "sudo id -un", "root"},
		{"daemon", "cd /tmp && sudo -n pwd", "/tmp"},
		{"root", "sudo -u daemon -- id -un", "daemon"},
		{"root", "sudo sh -c 'exit 4'; echo $?", "4"},
		{"daemon", "echo x | sudo cat", "x"},
		{"daemon", "sudo hostname changed && hostname", "changed"},
	} {
		if got := run(t, w.Host("a"), tc.user, tc.command); got != tc.want {
			t.Errorf("%s: %s: %q, want %q", tc.user, tc.command, got, tc.want)
		}
	}
}

func TestSCP(t *testing.T) {
	w := start(t, "a", "b")
	a := w.Host("a")
	run(t, w.Host("b"), "root", "mkdir -p /srv/d/e; echo one >'/srv/d/f.1'; echo two >/srv/d/e/g; chmod 750 /srv/d/f.1")
	for _, tc := range []struct{ command, want string }{
		{"scp -o StrictHostKeyChecking=no b:/srv/d/f.1 /srv/copy && cat /srv/copy && stat -c %a /srv/copy", "one\n750"},
		{"scp root@b:/srv/d/f.1 /srv && cat /srv/f.1", "one"},
		{"cd /srv && scp b:/srv/d/f.1 here && cat here", "one"},
		{"scp /srv/copy b:/srv/back && ssh b cat /srv/back", "one"},
		{"scp -r b:/srv/d /srv/tree && cat /srv/tree/e/g", "two"},
		{"scp b:/srv/none /srv/x 2>/dev/null; echo $?; ls /srv/x 2>/dev/null; true", "1"},
		{"scp b:/srv/d /srv/x 2>/dev/null; echo $?", "1"},
		{"scp nowhere:/srv/d /srv/x 2>/dev/null; echo $?", "1"},
	} {
		if got := run(t, a, "root", tc.command); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.command, got, tc.want)
		}
	}
	if err := w.Host("b").Cut(); err != nil {
		t.Fatal(err)
	}
	if got := status(t, a, "root", "timeout 60 scp -q -o ConnectTimeout=1 b:/srv/d/f.1 /srv/x"); got != "1" {
		t.Errorf("scp from a host that is cut off: %s", got)
	}
}
