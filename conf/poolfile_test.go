package conf

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const poolPath = "/etc/pgpool/pools.ini"

// loadPools loads a configuration with a pool file beside it.
func loadPools(text, pools string) (*Config, []Problem) {
	return loadWith(mainFile, memory{mainFile: "pool_file = 'pools.ini' " + text, poolPath: pools}.read)
}

func mustLoadPools(t *testing.T, text, pools string) *Config {
	t.Helper()
	c, problems := loadPools(text, pools)
	if c == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	return c
}

// TestPoolingDefaults: session mode is as it always was, the other modes have PgBouncer's defaults.
func TestPoolingDefaults(t *testing.T) {
	if got, want := Default().Pooling("d", "u"), (Pooling{Mode: PoolModeSession, Pin: PinModePin}); got != want {
		t.Errorf("session mode\n got %+v\nwant %+v", got, want)
	}
	want := Pooling{
		Mode: PoolModeTransaction, Pin: PinModePin, Size: 20, ReserveTimeout: 5 * time.Second, QueryWaitTimeout: 120 * time.Second,
		ServerIdleTimeout: 600 * time.Second, ServerLifetime: 3600 * time.Second, ServerCheckDelay: 30 * time.Second,
		ServerCheckQuery: "select 1", MaxPreparedStatements: 200,
	}
	if got := mustLoad(t, "pool_mode = transaction").Pooling("d", "u"); got != want {
		t.Errorf("transaction mode\n got %+v\nwant %+v", got, want)
	}
	want.Mode = PoolModeStatement
	if got := mustLoad(t, "pool_mode = Statement").Pooling("d", "u"); got != want {
		t.Errorf("statement mode\n got %+v\nwant %+v", got, want)
	}
}

// TestTwoNames: session mode obeys Pgpool-II's names, the others PgBouncer's, which fall back to their partners.
func TestTwoNames(t *testing.T) {
	for _, tt := range []struct {
		text                  string
		clientIdle, serveIdle time.Duration // seconds
		wait                  time.Duration
		warning               string
	}{
		{"client_idle_limit = 7 connection_life_time = 8", 7, 8, 0, ""},
		{"client_idle_timeout = 7 server_idle_timeout = 8", 0, 0, 0, ""},
		{"pool_mode = transaction client_idle_limit = 7 connection_life_time = 8", 7, 8, 120, ""},
		{"pool_mode = transaction client_idle_timeout = 7 server_idle_timeout = 8 query_wait_timeout = 0", 7, 8, 0, ""},
		{"pool_mode = transaction connection_life_time = 0", 0, 600, 120, ""}, // its default is not taken for a wish
		{"pool_mode = transaction connection_life_time = 0 server_idle_timeout = 7", 0, 7, 120, ""},
		{
			"pool_mode = transaction client_idle_limit = 9 client_idle_timeout = 7", 7, 600, 120,
			"client_idle_timeout and client_idle_limit are set to different values (pool_mode = session obeys client_idle_limit",
		},
		{
			"connection_life_time = 9 server_idle_timeout = 7", 0, 9, 0,
			"server_idle_timeout and connection_life_time are set to different values",
		},
		{"client_idle_timeout = 60 client_idle_limit = 1min", 60, 0, 0, ""},
		{"query_wait_timeout = 3", 0, 0, 3, ""},
	} {
		c, problems := load(tt.text)
		if c == nil || (len(problems) > 0) != (tt.warning != "") {
			t.Errorf("%s: %v", tt.text, problems)
			continue
		}
		if tt.warning != "" {
			wantProblem(t, problems, Warning, tt.warning)
		}
		p := c.Pooling("d", "u")
		got := []time.Duration{p.ClientIdleTimeout, p.ServerIdleTimeout, p.QueryWaitTimeout}
		want := []time.Duration{tt.clientIdle * time.Second, tt.serveIdle * time.Second, tt.wait * time.Second}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tt.text, got, want)
		}
	}
}

// TestSetInSessionMode: of PgBouncer's parameters those that are set hold in session mode too.
func TestSetInSessionMode(t *testing.T) {
	c := mustLoad(t, "default_pool_size = 3 server_lifetime = 0 query_timeout = 9 server_check_query = '<empty>' max_db_connections = 4")
	want := Pooling{
		Mode: PoolModeSession, Pin: PinModePin, Size: 3, ServerLifetime: UsedOnce, QueryTimeout: 9 * time.Second, ServerCheckQuery: EmptyCheck,
		MaxDBConnections: 4,
	}
	if got := c.Pooling("d", "u"); got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	s := NewSessionSettings(mustLoad(t, "pool_mode = transaction"))
	if err := s.Set("client_idle_limit", "5"); err != nil {
		t.Fatal(err)
	}
	if got := s.Config().Pooling("d", "u").ClientIdleTimeout; got != 5*time.Second {
		t.Errorf("after PGPOOL SET: %v", got)
	}
}

const pools = `; a comment
# and another
[databases]
app = pool_mode=transaction pool_size=50 min_pool_size = 60 reserve_pool=5 max_db_connections='70' max_db_client_connections=80
report = pool_mode=session pin_mode=error server_lifetime=0
"my ""db""" = pool_size=9
"*" = pool_size=8
empty =
* = pool_size=7 dbname='*'

[users]
web = max_user_connections=30 max_user_client_connections=31 query_timeout=1min transaction_timeout=2min
 batch = pool_mode=statement pool_size=2 reserve_pool_size=1 idle_transaction_timeout=9
slow = client_idle_timeout=15
`

func TestPooling(t *testing.T) {
	c := mustLoadPools(t, "default_pool_size = 10 max_db_connections = 11 client_idle_timeout = 12 client_idle_limit = 12"+
		" query_timeout = 13", pools)
	for _, tt := range []struct {
		database, user string
		want           string // what differs from the modes' defaults
		test           func(p Pooling) bool
	}{
		{"app", "x", "the database's line", func(p Pooling) bool {
			return p.Mode == PoolModeTransaction && p.Size == 50 && p.MinSize == 50 && p.ReserveSize == 5 && p.MaxDBConnections == 70 &&
				p.MaxDBClients == 80 && p.QueryTimeout == 13*time.Second
		}},
		{"report", "x", "pin_mode, a connection per use", func(p Pooling) bool {
			return p.Mode == PoolModeSession && p.Pin == PinModeError && p.ServerLifetime == UsedOnce && p.Size == 10 && p.MaxDBConnections == 11
		}},
		{`my "db"`, "x", "a quoted name", func(p Pooling) bool { return p.Size == 9 }},
		{"*", "x", "a database of that name", func(p Pooling) bool { return p.Size == 8 }},
		{"empty", "x", "not the fallback", func(p Pooling) bool { return p.Size == 10 }},
		{"other", "x", "the fallback", func(p Pooling) bool { return p.Size == 7 && p.Mode == PoolModeSession }},
		{"App", "x", "names are exact", func(p Pooling) bool { return p.Size == 7 }},
		{"app", "web", "both lines", func(p Pooling) bool {
			return p.Mode == PoolModeTransaction && p.Size == 50 && p.MaxUserConnections == 30 && p.MaxUserClients == 31 &&
				p.QueryTimeout == time.Minute && p.TransactionTimeout == 2*time.Minute
		}},
		{"app", "batch", "the user's line wins", func(p Pooling) bool {
			return p.Mode == PoolModeStatement && p.Size == 2 && p.ReserveSize == 1 && p.MinSize == 2 && p.IdleTransactionTimeout == 9*time.Second
		}},
		{"report", "batch", "its mode decides which names count", func(p Pooling) bool {
			return p.Mode == PoolModeStatement && p.MaxPreparedStatements == 200
		}},
		{"other", "slow", "a user's own limit holds in session mode", func(p Pooling) bool { return p.ClientIdleTimeout == 15*time.Second }},
		{"other", "x", "client_idle_limit", func(p Pooling) bool { return p.ClientIdleTimeout == 12*time.Second }},
	} {
		if p := c.Pooling(tt.database, tt.user); !tt.test(p) {
			t.Errorf("%s, %s: not as wanted: %s: %+v", tt.database, tt.user, tt.want, p)
		}
	}
}

func TestPoolFileProblems(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		severity   Severity
		want       []string
	}{
		{"no section", "app = pool_size=1", Error, []string{poolPath + ":1: a pool file begins with a section"}},
		{
			"unknown section", "\n[peers]\n1 = host=a", Error,
			[]string{":2: unknown section [peers]", "[databases] and [users]"},
		},
		{"open section", "[databases", Error, []string{`:1: syntax error in pool file near "[databases"`}},
		{"text behind a section", "[users] x", Error, []string{":1: syntax error"}},
		{"no equals sign", "[users]\n\nbob", Error, []string{`:3: syntax error in pool file: there is no = in "bob"`}},
		{
			"no name", "[users]\n= pool_mode=session", Error,
			[]string{`:2: syntax error in pool file: the name "" must stand in double quotes`},
		},
		{
			"a name that needs quotes", "[users]\nbob smith = pool_mode=session", Error,
			[]string{`:2: `, `"bob smith" must stand in double quotes`},
		},
		{"a lone dash", "[users]\n- = pool_mode=session", Error, []string{`"-" must stand in double quotes`}},
		{"an open quote", "[users]\n\"bob = pool_mode=session", Error, []string{":2: ", "a quoted name has no end"}},
		{"an empty name", "[users]\n\"\" = pool_mode=session", Error, []string{"the name is empty"}},
		{"nothing behind a name", "[users]\n\"bob\" pool_mode=session", Error, []string{"there is no = behind the name"}},
		{"include", "[users]\n%include other.ini", Error, []string{":2: %include is not supported"}},
		{"quoted settings", "[users]\nbob = \"\"\"pool_mode=session", Error, []string{`settings cannot begin with "`}},
		{
			"two lines", "[users]\nbob = pool_size=1\nbob2 = pool_size=1\n\"bob\" = pool_size=2", Error,
			[]string{":4: there are two lines for [users] bob", "the first is line 2"},
		},
		{"all users", "[users]\n* = pool_size=1", Error, []string{":2: * is not allowed in [users]", "pgpool.conf"}},
		{
			"unknown setting", "[databases]\na = pool_sise=3", Error,
			[]string{`:2: unknown setting "pool_sise" of [databases] a`, "allowed: pool_mode, pin_mode, pool_size,"},
		},
		{
			"the other section's", "[databases]\na = query_timeout=3", Error,
			[]string{":2: query_timeout is not allowed in [databases]"},
		},
		{
			"pgpool.conf's", "[users]\na = server_check_delay=3", Error,
			[]string{"server_check_delay is not allowed in [users]", "client_idle_timeout"},
		},
		{
			"a bad number", "[databases]\n\na = pool_size=many", Error,
			[]string{`:3: [databases] a: invalid value for parameter "pool_size": "many"`, "allowed: 0 .. 2147483647"},
		},
		{
			"out of range", "[databases]\na = pool_size=-1", Error,
			[]string{`-1 is outside the valid range for parameter "pool_size"`},
		},
		{
			"a bad mode", "[users]\na = pool_mode=transactions", Error,
			[]string{`"transactions"`, "Available values: session, transaction, statement."},
		},
		{
			"twice", "[databases]\na = reserve_pool=1 reserve_pool_size=1", Error,
			[]string{"reserve_pool_size is set twice for [databases] a"},
		},
		{
			"no key", "[databases]\na = =1", Error,
			[]string{":2: syntax error in the settings of [databases] a: there is no key before ="},
		},
		{"no value", "[databases]\na = pool_size", Error, []string{`there is no = behind "pool_size"`}},
		{
			"a comment at the end", "[databases]\na = pool_size=1 ; small", Error,
			[]string{`there is no = behind "; small"`, "comments on lines of their own"},
		},
		{"an open value", "[databases]\na = pool_size='1", Error, []string{"the value of pool_size has no closing quote"}},
		{"two words", "[databases]\na = pool size=1", Error, []string{`"pool size" is no key`}},
		{
			"an alias", "[databases]\na = dbname=b", Error,
			[]string{":2: dbname=b: a database cannot be given another name", "its own name"},
		},
		{
			"its own name", "[databases]\na = dbname=a host=x port='1' password='my secret' client_encoding=utf8", Warning,
			[]string{":2: no effect in the settings of [databases] a: host, port, password, client_encoding"},
		},
		{"a user's host", "[users]\na = host=x", Error, []string{`unknown setting "host" of [users] a`}},
		{
			"pgbouncer's parameters", "[pgbouncer]\ndefault_pool_size = 3", Warning,
			[]string{":2: default_pool_size in a pool file has no effect", "its place is pgpool.conf"},
		},
		{
			"with another name", "[pgbouncer]\n\nserver_reset_query = DISCARD ALL", Warning,
			[]string{":3: server_reset_query", "write reset_query_list in pgpool.conf"},
		},
		{
			"without one", "[pgbouncer]\ndns_max_ttl = 3", Warning,
			[]string{"dns_max_ttl in a pool file has no effect", "there is no such parameter here"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, problems := loadPools("", tt.text)
			if len(problems) != 1 || (c == nil) != (tt.severity == Error) {
				t.Fatalf("loaded %v with %v", c != nil, problems)
			}
			wantProblem(t, problems, tt.severity, tt.want...)
			if strings.Contains(problems[0].String(), "secret") {
				t.Error("a password is told")
			}
		})
	}
}

func TestPoolFileMissing(t *testing.T) {
	c, problems := load("\npool_file = 'none.ini'")
	if c != nil {
		t.Error("accepted")
	}
	wantProblem(t, problems, Error, mainFile+":2: could not read pool file \"/etc/pgpool/none.ini\"")
}

// TestBouncersNames: a name of PgBouncer in pgpool.conf is told with ours.
func TestBouncersNames(t *testing.T) {
	c, problems := load("server_reset_query = 'DISCARD ALL'")
	if c == nil {
		t.Fatal(problems)
	}
	wantProblem(t, problems, Warning, `unrecognized configuration parameter "server_reset_query"`, "PgBouncer's name, here it is reset_query_list")
	for name, instead := range bouncerNames() {
		if params().byName[name] != nil {
			t.Errorf("%s is a parameter here", name)
		}
		if first := strings.Fields(instead)[0]; params().byName[first] == nil {
			t.Errorf("%s leads to %s", name, first)
		}
	}
}

func TestReloadPoolFile(t *testing.T) {
	before := "[databases]\na = pool_size=1 password=secret\n[users]\nu = pool_mode=transaction\nv = pool_size=3\n"
	c, _ := loadPools("", before)
	m := memory{
		mainFile: "pool_file = 'pools.ini'",
		poolPath: "[databases]\na = pool_size=2 password=other\n* = pool_size=4\n[users]\nv = pool_size=3\n",
	}
	next, changes, problems := c.reloadWith(mainFile, m.read)
	if Refused(problems) || next.Pooling("a", "x").Size != 2 || next.Pooling("b", "x").Size != 4 ||
		next.Pooling("a", "u").Mode != PoolModeSession {
		t.Fatalf("%+v %v", next.Pooling("a", "x"), problems)
	}
	want := []string{
		"pool_file databases.a pool_size=1>pool_size=2", "pool_file databases.* >pool_size=4", "pool_file users.u pool_mode=transaction>",
	}
	if got := changeTexts(changes); !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q", got, want)
	}
	m[poolPath] = "[databases]\na = pool_size=x"
	same, changes, problems := next.reloadWith(mainFile, m.read)
	if same != next || len(changes) > 0 || !Refused(problems) {
		t.Error("a broken pool file was taken")
	}
	delete(m, poolPath)
	if same, _, problems = next.reloadWith(mainFile, m.read); same != next || !Refused(problems) {
		t.Error("a missing pool file was taken")
	}
}

func TestPoolingWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"min_pool_size = 30": "min_pool_size is greater than default_pool_size",
		"default_pool_size = 9 num_init_children = 4 max_pool= 2": "default_pool_size will not be reached (num_init_children * max_pool allows 8",
		"max_prepared_statements = 0 pin_mode = error":            "refuses all prepared statements",
	} {
		c, problems := load(text)
		if c == nil || len(problems) != 1 {
			t.Fatalf("%s: %v", text, problems)
		}
		wantProblem(t, problems, Warning, want)
	}
	for _, text := range []string{"num_init_children = 1", "default_pool_size = 0 min_pool_size = 3", "default_pool_size = 128"} {
		mustLoad(t, text)
	}
}

func TestAutoFailoverWarnings(t *testing.T) {
	const plain = "auto_failover = on sr_check_user = u health_check_period = 5"
	for text, want := range map[string]string{
		plain + " failover_command = x":              "auto_failover has no effect: failover_command is set",
		plain + " follow_primary_command = x":        "follow_primary_command is run beside auto_failover",
		"auto_failover = on health_check_period = 5": "does not know who is the primary without sr_check_user",
		"auto_failover = on sr_check_user = u":       "only when a client uses it",
		plain + " sr_check_period = 0":               "nor whom its commits waited for",
	} {
		c, problems := load(text)
		if c == nil || len(problems) != 1 {
			t.Fatalf("%s: %v", text, problems)
		}
		wantProblem(t, problems, Warning, want)
	}
	for _, text := range []string{plain, "failover_command = x", "follow_primary_command = x", "auto_failover = on sr_check_user = u health_check_period0 = 5"} {
		mustLoad(t, text)
	}
}

func TestConnectionString(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"a=1":                           "a:1",
		" a = 1\tb='x y'  c=":           "a:1 b:x y c:",
		`a='it''s' b='it\'s \\' c=x\ y`: `a:it's b:it's \ c:x y`,
		"a=''b=2":                       "a: b:2",
	} {
		settings, bad := splitConnectionString(text)
		var got []string
		for _, s := range settings {
			got = append(got, s.key+":"+s.value)
		}
		if joined := strings.Join(got, " "); bad != "" || joined != want {
			t.Errorf("%s: %q %s", text, joined, bad)
		}
	}
}

// FuzzPoolFile: whatever a pool file says, reading it answers, and what it accepts reads the same again.
func FuzzPoolFile(f *testing.F) {
	f.Add(pools)
	for _, s := range []string{
		"[databases]\na = pool_size='1' host=\\'", "[pgbouncer]\nx=`\n[users]\n\"%\"=pool_mode=session", "\ufeff[databases]\r\n* = \r\n",
		"[databases]\n\"a]b\"=pool_size=1\n[users]\n\"a=b\"=pool_size = 2", "[users]\n\"-\" = \"x", "[databases] ; x\nDEFAULT=pool_size=1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, problems := readPools(text)
		for _, p := range problems {
			if p.Line < 1 || p.Line > strings.Count(text, "\n")+1 {
				t.Errorf("no such line: %v", p)
			}
		}
		if again, _ := readPools(text); len(poolChanges(&c.poolFile, &again.poolFile)) > 0 {
			t.Error("reads differently again")
		}
		for name := range c.poolFile.databases {
			if p := c.Pooling(name, "u"); p.Size < 0 || p.Size > 0 && p.MinSize > p.Size {
				t.Errorf("%+v", p)
			}
		}
	})
}

// readPools is the pool file alone.
func readPools(text string) (*Config, []Problem) {
	l := newLoader(mainFile, memory{poolPath: text}.read)
	c := &Config{Pools: Pools{PoolFile: poolPath, PoolMode: PoolModeSession}}
	l.takePoolFile(c)
	return c, l.problems
}

// TestPoolingDocument holds docs/pooling.md against the table: every parameter of it with its default, every setting of the pool file.
func TestPoolingDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/pooling.md")
	if err != nil {
		t.Fatal(err)
	}
	defaults, mentioned := make(map[string]string), string(text)
	for line := range strings.Lines(mentioned) {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			value, _, _ := strings.Cut(cells[2], ";")
			defaults[strings.Trim(cells[1], " `")] = strings.Trim(value, " `")
		}
	}
	for _, p := range sharingRows() {
		want := p.Default
		if want == "" {
			want = "empty"
		}
		if got, ok := defaults[p.Name]; p.Name != "pool_file" && (!ok || got != want) {
			t.Errorf("%s: default %q in the document, %q here", p.Name, got, want)
		}
	}
	for _, k := range poolKeys() {
		if (k.database || k.user) && !strings.Contains(mentioned, "`"+k.name+"`") {
			t.Errorf("%s is not in the document", k.name)
		}
	}
}
