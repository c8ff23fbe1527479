package authtest

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

// wholeEnv names the environment variable that adds Java's driver and every attempt, and names the file that gets the tables of
// results; linesEnv one that names another table of lines.
const (
	wholeEnv = "GOPGPOOL_AUTHMATRIX"
	linesEnv = "GOPGPOOL_AUTHLINES"
)

// setting is what lines share whose pgpool can be the same.
type setting struct {
	hba, clear, query, tls, backendCert, transaction bool
}

func (s setting) String() string {
	words := []string{"session"}
	if s.transaction {
		words[0] = "transaction"
	}
	for _, w := range []struct {
		on   bool
		word string
	}{{s.hba, "hba"}, {s.clear, "clear"}, {s.query, "query"}, {s.tls, "tls"}, {s.backendCert, "backendcert"}} {
		if w.on {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, "+")
}

func (l line) setting() setting {
	return setting{
		hba: l.hba != "off", clear: l.option("clear"), query: strings.HasPrefix(l.entry, "query"), tls: l.client != "off" && l.client != "unix",
		backendCert: l.server == "cert",
	}
}

// start starts the pgpool of a setting for its lines.
func (w *world) start(t *testing.T, s setting, lines []line) *pgcluster.Pgpool {
	t.Helper()
	onOff := func(on bool) string {
		if on {
			return "on"
		}
		return "off"
	}
	conf := map[string]string{
		"enable_pool_hba": onOff(s.hba), "allow_clear_text_frontend_auth": onOff(s.clear), "ssl": onOff(s.tls), "auth_delay": "0",
		"num_init_children": "10", "health_check_period": "0", "sr_check_period": "0",
	}
	if s.transaction {
		conf["pool_mode"] = "transaction"
	}
	if s.query {
		conf["auth_user"], conf["auth_dbname"] = "asker", "postgres"
	}
	if s.tls {
		maps.Copy(conf, w.clientTLS(t))
	}
	if s.backendCert {
		own := w.install(t, w.pgpool)
		conf["backend_sslmode"], conf["backend_sslcert"], conf["backend_sslkey"] = "require", own.cert, own.key
	}
	var rules, passwd, idents strings.Builder
	passwd.WriteString("asker:TEXT" + password + "\n")
	idents.WriteString("staff /^(.*)@staff$ \\1\n")
	for _, l := range lines {
		rules.WriteString(l.rule(t, w.outside))
		for _, user := range l.users() {
			if !strings.HasSuffix(user, unknown) {
				passwd.WriteString(l.passwdLine(t, user))
			}
		}
		if l.hba == "peer" {
			fmt.Fprintf(&idents, "machine %s %s\n", systemUser(t), l.role())
		}
	}
	rules.WriteString("local nothing nobody reject\n")
	return shared.Pgpool(t, pgcluster.PgpoolOptions{
		Conf: conf, HBA: rules.String(), Passwd: passwd.String(), Files: map[string]string{"pool_ident.conf": idents.String()},
		Args: []string{"-k", w.place(t, "poolkey", keyPhrase+"\n")}, Env: append([]string{"GORACE=atexit_sleep_ms=0"}, w.environment...),
	})
}

func systemUser(t *testing.T) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return me.Username
}

// place writes a file that pgpool may read, and others may not, and returns its path.
func (w *world) place(t *testing.T, name, text string) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	name = filepath.Join("authtest", name)
	if err := w.cluster.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(w.cluster.Dir, name)
}

func (w *world) install(t *testing.T, l leaf) leaf {
	t.Helper()
	return leaf{w.place(t, filepath.Base(l.cert), read(t, l.cert)), w.place(t, filepath.Base(l.key), read(t, l.key)), l.serial}
}

// clientTLS are the parameters of TLS towards clients.
func (w *world) clientTLS(t *testing.T) map[string]string {
	t.Helper()
	own := w.install(t, w.pgpool)
	return map[string]string{
		"ssl": "on", "ssl_cert": own.cert, "ssl_key": own.key,
		"ssl_ca_cert": w.place(t, "ca.crt", read(t, w.ours.root())), "ssl_crl_file": w.place(t, "ca.crl", read(t, w.ours.crl())),
	}
}

// step is one login of a line and what must come of it: "in", "out" for any refusal, or how it must be refused.
type step struct {
	what string
	attempt
	want string
	// uniform: the refusal must not tell an unknown user from a wrong password.
	uniform bool
}

// steps are all logins of a line, in order: after the first a server connection of the user idles.
func (w *world) steps(t *testing.T, l line, p *pgcluster.Pgpool) (steps []step) {
	t.Helper()
	right := attempt{
		host: p.Host, port: p.Port, user: l.role(), secret: password, database: l.database(), client: l.client, root: w.ours.root(),
	}
	if l.client == "unix" {
		right.host = p.RunDir
	}
	if owner := l.certificateOf(); owner != "" {
		right.leaf = w.leaf(t, owner)
	}
	add := func(what, want string, change func(a *attempt)) {
		a := right
		change(&a)
		steps = append(steps, step{what: what, attempt: a, want: want})
	}
	nothing := func(*attempt) {}
	secret := func(s string) func(*attempt) { return func(a *attempt) { a.secret = s } }
	as := func(suffix string) func(*attempt) { return func(a *attempt) { a.user += suffix } }
	if !l.in() {
		add("right", l.want, nothing)
		add("wrong", "out", secret("wrong"))
		add("empty", "out", secret(""))
		add("unknown", "out", as(unknown))
		return steps
	}
	add("right", "in", nothing)
	if l.want == "in" {
		add("wrong", "out", secret("wrong"))
		steps[len(steps)-1].uniform = true
		add("empty", "out", secret(""))
	}
	add("unknown", "out", as(unknown))
	steps[len(steps)-1].uniform = l.want == "in" && l.hba != "off" && !strings.HasPrefix(l.hba, "verify-full:")
	add("stranger", "out", as(stranger))
	add("nologin", "out", as(nologin))
	if l.looksAtExpiry() {
		add("expired", "out", as(expired))
	}
	if l.needsTLS() {
		add("plain", "out", func(a *attempt) { a.client = "plain" })
	}
	if l.certificateOf() != "" {
		shows := func(name string) func(*attempt) { return func(a *attempt) { a.leaf = w.leaf(t, name) } }
		add("revoked", "tls", shows(l.role()+" revoked"))
		add("theirs", "tls", shows(l.role()+" theirs"))
		steps[len(steps)-1].foreign = true
		if l.needsCertificate() {
			add("nocert", "out", func(a *attempt) { a.leaf = leaf{} })
		}
		if l.needsCertificate() && !strings.HasPrefix(l.hba, "verify-ca:") {
			add("othercert", "out", shows("somebody"))
		}
	}
	add("right again", "in", nothing)
	return steps
}

// looksAtExpiry tells whether anybody asks until when the password is good: a server that asks for it, or auth_query.
func (l line) looksAtExpiry() bool {
	if strings.HasPrefix(l.entry, "query") {
		return l.want != "open" || l.server != "trust"
	}
	return l.server != "trust" && l.server != "cert"
}

// chosen tells what is tried when time is short, the n-th step of a line: pgx the right password, a wrong one after it and a third of the
// others, different ones for neighbouring lines; psql what it may do otherwise than pgx.
func (s step) chosen(c client, l line, in setting, n int) bool {
	turn := s.what == "right" || s.what == "wrong" || (l.number+n)%3 == 0
	if c.name() == "pgx" {
		return turn
	}
	return turn && !in.transaction && (l.needsTLS() || l.number%4 == 0)
}

// judge compares an outcome with what the step wants.
func (s step) judge(c client, o outcome) error {
	if s.want == "in" {
		if o.user != s.user {
			return fmt.Errorf("%s: %s, want in", s.what, o)
		}
		return nil
	}
	if o.user != "" {
		return fmt.Errorf("%s: %s, want %s", s.what, o, s.want)
	}
	if strings.Contains(o.text, "refused\n") || strings.Contains(o.text, "timeout expired") || strings.Contains(o.text, "closed the connection") {
		return fmt.Errorf("%s: no answer: %s", s.what, o)
	}
	if c.name() != "pgx" { // the others do not tell all SQLSTATEs
		return nil
	}
	if o.state == "error" || s.want != "out" && o.state != s.want {
		return fmt.Errorf("%s: %s, want %s", s.what, o, s.want)
	}
	if s.uniform && (o.state != "28P01" || !strings.HasSuffix(o.text, ` authentication failed for user "`+s.user+`"`)) {
		return fmt.Errorf("%s: %s, want the answer to any wrong password", s.what, o)
	}
	return nil
}

// TestMatrix goes through testdata/matrix.txt.
func TestMatrix(t *testing.T) {
	t.Parallel()
	lines := readLines(t, cmp.Or(os.Getenv(linesEnv), filepath.Join("testdata", "matrix.txt")))
	newWorld(t, lines).tryAll(t)
}

// tryAll tries every line.
func (w *world) tryAll(t *testing.T) {
	whole := os.Getenv(wholeEnv) != ""
	groups := map[setting][]line{}
	for _, l := range w.lines {
		s := l.setting()
		groups[s] = append(groups[s], l)
		if s.transaction = true; whole || l.number%4 == 0 {
			groups[s] = append(groups[s], l)
		}
	}
	clients := []client{inProcess{}, psql{w.cluster}}
	if whole {
		clients = append(clients, startJDBC(t))
	}
	var results report
	t.Run("lines", func(t *testing.T) {
		order := slices.SortedFunc(maps.Keys(groups), func(a, b setting) int { return cmp.Compare(a.String(), b.String()) })
		for _, s := range order {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				w.run(t, s, whole, groups[s], clients, &results)
			})
		}
	})
	t.Log(results.counts())
	if whole {
		results.append(t, os.Getenv(wholeEnv))
	}
}

// run makes every attempt of the lines with every client that can.
func (w *world) run(t *testing.T, s setting, whole bool, lines []line, clients []client, results *report) {
	p := w.start(t, s, lines)
	for _, l := range lines {
		failed := map[string]bool{}
		for n, step := range w.steps(t, l, p) {
			for _, c := range clients {
				if failed[c.name()] || !c.can(step.attempt) || !whole && !step.chosen(c, l, s, n) {
					continue
				}
				ctx, cancel := contextWithin(t)
				o := c.login(ctx, t, step.attempt)
				cancel()
				err := step.judge(c, o)
				if err != nil {
					t.Errorf("%s: %s: %v", l, c.name(), err)
					failed[c.name()] = step.want == "in"
				}
				results.add(l, c.name(), step, o, err)
			}
		}
	}
	text, err := p.LogText()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{password, keyPhrase, "SCRAM-SHA-256$"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
}
