package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gopgpool/auth"
	"gopgpool/internal/pgcluster"
)

// secrets are what nobody may read anywhere but in the files it was written to.
var secrets = map[string]string{
	"password in clear": "Xa1-clear", "password encrypted": "Xa2-encrypted", "password hashed": "Xa3-hashed",
	"password of a verifier": "Xa4-verifier", "password only the server has": "Xa5-unlisted", "password asked for": "Xa8-queried",
	"guess": "Xa6-guess", "key phrase": "Xa7-phrase",
	"sr_check_password": "Xb1-check", "recovery_password": "Xb2-recovery", "health_check_password": "Xb3-health",
	"wd_lifecheck_password": "Xb4-life", "wd_authkey": "Xb5-watchdog", "ldapbindpasswd": "Xb6-bind", "password for PCP": "Xb7-pcp",
}

// hidden are the secrets and what is as good as them, by a name that may be told.
type hidden map[string]string

// check looks for the secrets in a text.
func (h hidden) check(t *testing.T, where, text string) {
	t.Helper()
	if text == "" {
		t.Errorf("%s: nothing to look at", where)
	}
	text = strings.ReplaceAll(text, "\x00", "\n") // environments and command lines
	for name, value := range h {
		if i := strings.Index(text, value); i >= 0 {
			line, _, _ := strings.Cut(text[strings.LastIndexByte(text[:i], '\n')+1:], "\n")
			t.Errorf("%s shows the %s: %s", where, name, line)
		}
	}
}

// secretRoles are the roles of the test: a record in pool_hba.conf and one on the server, the password.
var secretRoles = map[string]struct{ hba, server, password string }{
	"s_clear":     {"scram-sha-256", "scram-sha-256", secrets["password in clear"]},
	"s_encrypted": {"password", "md5", secrets["password encrypted"]},
	"s_hashed":    {"md5", "md5", secrets["password hashed"]},
	"s_verifier":  {"scram-sha-256", "scram-sha-256", secrets["password of a verifier"]},
	"s_queried":   {"scram-sha-256", "scram-sha-256", secrets["password asked for"]},
	"s_unlisted":  {"password", "password", secrets["password only the server has"]},
	"s_outside": {
		`ldap ldapserver=127.0.0.1 ldapport=1 ldapbasedn="dc=x" ldapbinddn="cn=x" ldapbindpasswd="` + secrets["ldapbindpasswd"] + `"`,
		"trust", "",
	},
}

// startSecretive starts a server and a pgpool that know the secrets. seen is a file with what failover_command was given.
func startSecretive(t *testing.T) (p *pgcluster.Pgpool, h hidden, seen string) {
	t.Helper()
	rules := map[bool]string{}
	for role, r := range secretRoles {
		rules[true] += "host all " + role + " 127.0.0.1/32 " + r.hba + "\n"
		rules[false] += "host all " + role + " 127.0.0.1/32 " + r.server + "\n"
	}
	server := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1, HBA: rules[false]})
	h = maps.Clone(secrets)
	for role, r := range secretRoles {
		encryption := "md5"
		if r.server == "scram-sha-256" {
			encryption = r.server
		}
		sql := fmt.Sprintf("SET password_encryption = %s; CREATE ROLE %s LOGIN PASSWORD %s", quoted(encryption), role, quoted(r.password))
		if err := server.Nodes[0].Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	passwd := secretPasswd(t, server.Nodes[0], h)
	if err := server.WriteFile("secret-key", secrets["key phrase"]+"\n", 0o600); err != nil {
		t.Fatal(err)
	}
	seen = filepath.Join(server.Dir, "log", "seen")
	p = server.TestPgpool(t, pgcluster.PgpoolOptions{
		Binary: shared.Program(t, "pgpool"),
		Conf: map[string]string{
			"enable_pool_hba": "on", "num_init_children": "8", "auth_delay": "0", "auth_user": "postgres",
			"log_min_messages": "debug5", "log_error_verbosity": "verbose", "log_client_messages": "on", "log_backend_messages": "verbose",
			"log_connections": "on", "log_disconnections": "on", "log_statement": "on", "log_per_node_statement": "on",
			"sr_check_period": "1", "sr_check_user": "postgres", "sr_check_password": secrets["sr_check_password"],
			"health_check_period": "1", "health_check_user": "postgres", "health_check_password": secrets["health_check_password"],
			"recovery_user": "postgres", "recovery_password": secrets["recovery_password"],
			"wd_lifecheck_password": secrets["wd_lifecheck_password"], "wd_authkey": secrets["wd_authkey"],
			"failover_command": "(env; cat /proc/$PPID/cmdline /proc/$PPID/environ; echo; echo done) > " + seen,
		},
		HBA: rules[true] + "host all postgres 127.0.0.1/32 trust\n", Passwd: passwd,
		Args: []string{"-k", filepath.Join(server.Dir, "secret-key")}, Env: []string{"GORACE=atexit_sleep_ms=0"},
	})
	return p, h, seen
}

// secretPasswd is the text of pool_passwd; what stands in it is hidden as well.
func secretPasswd(t *testing.T, server *pgcluster.Node, h hidden) string {
	t.Helper()
	encrypted, err := auth.NewKey(secrets["key phrase"]).Encrypt(secrets["password encrypted"])
	if err != nil {
		t.Fatal(err)
	}
	hash := auth.MD5Hash(secrets["password hashed"], "s_hashed")
	verifiers := map[string]string{}
	for _, role := range []string{"s_verifier", "s_queried"} {
		verifier, err := server.Value(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
		if err != nil {
			t.Fatal(err)
		}
		_, keys, _ := strings.Cut(strings.TrimPrefix(verifier, "SCRAM-SHA-256$"), "$")
		stored, own, ok := strings.Cut(keys, ":")
		if !ok {
			t.Fatalf("verifier %q", verifier)
		}
		verifiers[role], h["StoredKey of "+role], h["ServerKey of "+role] = verifier, stored, own
	}
	h["encrypted password"], h["hash"] = encrypted, strings.TrimPrefix(hash, "md5")
	h["hash for PCP"] = pgcluster.MD5Hex(pcpPassword)
	return "s_clear:TEXT" + secrets["password in clear"] + "\ns_encrypted:AES" + encrypted + "\ns_hashed:" + hash + "\ns_verifier:" + verifiers["s_verifier"] + "\n"
}

// Nothing that anybody can look at shows a password, a key, or what is as good as one.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	p, h, seen := startSecretive(t)
	for role, r := range secretRoles {
		err := logIn(t, p, role, r.password)
		if entered := r.password != ""; (err == nil) != entered {
			t.Errorf("%s: %v", role, err)
		}
		if err = logIn(t, p, role, secrets["guess"]); err == nil {
			t.Errorf("%s gets in with any password", role)
		} else {
			h.check(t, "the error for "+role, fmt.Sprintf("%v %#v", err, err))
		}
	}
	_ = logIn(t, p, "nobody_at_all", secrets["guess"])
	program := shared.Program(t, "pcp")
	for _, password := range []string{pcpPassword, secrets["password for PCP"]} {
		out := runPCPAt(t, program, p.Host, p.PCPPort, password, "pcp_pool_status")
		h.check(t, "pcp_pool_status", out.stdout+out.stderr)
		out = runPCPAt(t, program, p.Host, p.PCPPort, password, "pcp_proc_info", "-a", "-v")
		h.check(t, "pcp_proc_info", out.stdout+out.stderr)
	}
	for _, sql := range []string{"SHOW pool_status", "PGPOOL SHOW ALL", "SHOW pool_pools", "SHOW pool_processes", "SHOW pool_hba", "SHOW pool_ident"} {
		h.check(t, sql, fmt.Sprint(psql(t, p, sql)))
	}
	for _, name := range []string{"sr_check_password", "wd_authkey", "health_check", "watchdog"} {
		h.check(t, "PGPOOL SHOW "+name, fmt.Sprint(psql(t, p, "PGPOOL SHOW "+name)))
	}
	h.check(t, "pgpool -t", tested(t, p))
	h.process(t, p.Pid())
	if out := runPCP(t, program, p, "pcp_detach_node", "0"); out.status != 0 {
		t.Fatalf("pcp_detach_node: %+v", out)
	}
	text := ""
	eventually(t, "failover_command has run", func() bool {
		b, err := os.ReadFile(seen)
		text = string(b)
		return err == nil && strings.HasSuffix(text, "done\n")
	})
	h.check(t, "failover_command", text)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := p.WaitLog(ctx, regexp.MustCompile("=== Failover done")); err != nil {
		t.Fatal(err)
	}
	h.files(t, p)
}

// tested is the output of pgpool -t over the files of p.
func tested(t *testing.T, p *pgcluster.Pgpool) string {
	t.Helper()
	program, err := p.Program()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-t", "-d"}, withoutForeground(p.Arguments())...)
	cmd := osexec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("pgpool -t: %v", err)
	}
	return string(out)
}

func withoutForeground(args []string) (out []string) {
	for _, a := range args {
		if a != "-n" && a != "-D" {
			out = append(out, a)
		}
	}
	return out
}

// process looks at what every user of the machine can see of a process.
func (h hidden) process(t *testing.T, pid int) {
	t.Helper()
	for _, name := range []string{"cmdline", "environ", "status", "comm"} {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
		if err != nil {
			t.Fatal(err)
		}
		h.check(t, "/proc/PID/"+name, string(b))
	}
}

// files looks at all that was written: logs, the status file.
func (h hidden) files(t *testing.T, p *pgcluster.Pgpool) {
	t.Helper()
	log, err := p.LogText()
	if err != nil {
		t.Fatal(err)
	}
	h.check(t, "the log", log)
	for _, want := range []string{"DEBUG", "s_unlisted", "failover"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log is not what is to be looked at, no %q in it:\n%s", want, p.LogTail())
		}
	}
	for _, dir := range []string{p.LogDir, p.RunDir} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err == nil && len(b) > 0 {
				h.check(t, path, string(b))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
