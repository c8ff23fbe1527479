package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMissingFile(t *testing.T) {
	c, problems := Load(filepath.Join(t.TempDir(), "none.conf"))
	wantProblem(t, problems, Warning, "could not open configuration file: \"", "using default configuration parameter values")
	if c == nil || len(problems) != 1 || c.Connections.Port != 9999 {
		t.Errorf("want defaults, got %v", problems)
	}
}

func TestUnreadableFile(t *testing.T) {
	c, problems := Load(t.TempDir())
	if c != nil || !Refused(problems) {
		t.Error("a directory was accepted")
	}
}

func TestRelativeNames(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "p.conf")
	text := "pid_file_name = 'p.pid' ssl_key = 'k' ssl_dh_params_file = 'd' work_dir = 'w'"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := Load(name)
	if c == nil {
		t.Fatal(problems)
	}
	for got, want := range map[string]string{
		c.Files.PidFileName: filepath.Join(dir, "p.pid"), c.Auth.PoolPasswd: filepath.Join(dir, "pool_passwd"),
		c.SSL.SSLKey: filepath.Join(dir, "k"), c.SSL.SSLCert: "", c.SSL.SSLDhParamsFile: "d", c.Files.WorkDir: "w",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if c := mustLoad(t, "pool_passwd = ''"); c.Auth.PoolPasswd != "" {
		t.Errorf("pool_passwd = '' gives %q", c.Auth.PoolPasswd)
	}
}

func TestInclude(t *testing.T) {
	m := memory{
		mainFile:                  "port = 2000\ninclude 'sub/a.conf'\nport = 4000 include = '/b.conf'",
		"/etc/pgpool/sub/a.conf":  "port = 3000\ninclude 'c.conf'",
		"/etc/pgpool/sub/c.conf":  "max_pool = 7",
		"/b.conf":                 "num_init_children = 9\nport = x",
		"/etc/pgpool/unused.conf": "max_pool = 8",
	}
	c, problems := loadWith(mainFile, m.read)
	wantProblem(t, problems, Error, "/b.conf:2: ", `invalid value for parameter "port": "x"`)
	if c != nil || len(problems) != 1 {
		t.Fatalf("problems %v", problems)
	}
	m["/b.conf"] = "num_init_children = 9"
	c, problems = loadWith(mainFile, m.read)
	if c == nil || c.Connections.Port != 4000 || c.Pool.MaxPool != 7 || c.Pool.NumInitChildren != 9 {
		t.Fatalf("include: %v", problems)
	}
	m["/etc/pgpool/sub/c.conf"] = "\ninclude 'none.conf'"
	_, problems = loadWith(mainFile, m.read)
	wantProblem(t, problems, Error, "/etc/pgpool/sub/c.conf:2: ", `could not open configuration file "none.conf"`)
}

func TestIncludeDepth(t *testing.T) {
	m := memory{mainFile: "include '1'"}
	for i := 1; i <= 10; i++ {
		m[fmt.Sprintf("/etc/pgpool/%d", i)] = fmt.Sprintf("include '%d'", i+1)
	}
	m["/etc/pgpool/10"] = "port = 2000"
	if c, problems := loadWith(mainFile, m.read); c == nil || c.Connections.Port != 2000 {
		t.Errorf("ten levels: %v", problems)
	}
	m["/etc/pgpool/10"] = "include '11'"
	m["/etc/pgpool/11"] = ""
	_, problems := loadWith(mainFile, m.read)
	wantProblem(t, problems, Error, `could not open configuration file "11": maximum nesting depth exceeded`)
}

// TestIncludeBomb: files that include each other many times are bounded in number, not only in depth.
func TestIncludeBomb(t *testing.T) {
	reads := 0
	_, problems := loadWith(mainFile, func(string) ([]byte, error) {
		reads++
		return []byte(strings.Repeat("include 'x'\n", 10)), nil
	})
	wantProblem(t, problems, Error, "more than 1000 files")
	if reads > maxFiles+1 {
		t.Errorf("%d files were read", reads)
	}
}

// TestAllProblemsAtOnce: nothing hides behind the first error.
func TestAllProblemsAtOnce(t *testing.T) {
	_, problems := load("port = 80\nssl = maybe\nnum_init_chldren = 5\nmax_pool =\nbackend_port200 = 5432\nlog_min_messages = loud\n" +
		"memqcache_maxcache = 2MB\n")
	for line, want := range map[int]string{
		1: `80 is outside the valid range for parameter "port" (1024 .. 65535)`,
		2: `invalid value for parameter "ssl": "maybe"`,
		4: `near "max_pool"`,
		5: `200 index outside the valid range for parameter "backend_port200" (0 .. 127)`,
		6: `invalid value for parameter "log_min_messages": "loud"`,
		7: "memqcache_maxcache must not be greater than memqcache_cache_block_size",
	} {
		wantProblem(t, problems, Error, fmt.Sprintf("%s:%d: ", mainFile, line), want)
	}
	wantProblem(t, problems, Warning, mainFile+":3: ", `unrecognized configuration parameter "num_init_chldren"`, "did you mean num_init_children?")
	if len(problems) != 7 {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	for _, p := range problems {
		if p.Name == "" && p.Value == "" || p.File != mainFile {
			t.Errorf("incomplete: %+v", p)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	for name, hint := range map[string]string{
		"PORT":                  "did you mean port?",
		"backend_hostnme0":      "did you mean backend_hostname0?",
		"healt_check_period":    "did you mean health_check_period?",
		"entirely_unlike_these": "it is ignored)",
		"include_dir":           "it is ignored)",
	} {
		c, problems := load(name + " = 1")
		if c == nil {
			t.Errorf("%s refused", name)
		}
		wantProblem(t, problems, Warning, fmt.Sprintf("unrecognized configuration parameter %q", name), hint)
	}
}

// TestNumberedNames: section Errors of numbered parameters.
func TestNumberedNames(t *testing.T) {
	for text, want := range map[string]string{
		"backend_port128 = 5432":               `128 index outside the valid range for parameter "backend_port128" (0 .. 127)`,
		"heartbeat_port256 = 5432":             `256 index outside the valid range for parameter "heartbeat_port256" (0 .. 255)`,
		"backend_port99999999999999999999 = 1": "index outside the valid range",
		"backend_hostname = 'x'":               `parameter "backend_hostname" expects the index value`,
		"hostname = 'x'":                       `parameter "hostname" expects the index value`,
		"hostname_foo = 'x'":                   `invalid index value for parameter "hostname_foo" `,
		"connect_timeout_ms = 1":               "index part contains the invalid non digit character",
		"backend_port0 = 80":                   `80 is outside the valid range for parameter "backend_port0" (1024 .. 65535)`,
		"backend_flag0 = 'X'":                  "unknown backend flag:X",

		"backend_flag0 = 'ALLOW_TO_FAILOVER|DISALLOW_TO_FAILOVER'": "exclude each other",

		"backend_weight0 = x":                                           `invalid value for parameter "backend_weight0": "x"`,
		"backend_weight0 = '-1'":                                        "outside the valid range",
		"backend_weight0 = 'nan'":                                       "invalid value",
		"heartbeat_device0 = 'eth0;a23456789012345'":                    "At most 14 characters",
		"backend_application_name0 = '" + strings.Repeat("x", 63) + "'": "At most 62 characters",
	} {
		c, problems := load(text)
		wantProblem(t, problems, Error, want)
		if c != nil {
			t.Errorf("%s: accepted", text)
		}
	}
}

func TestBackends(t *testing.T) {
	c, problems := load(`backend_port03 = 5433 backend_weight3 = 1.5 backend_flag3 = 'DISALLOW_TO_FAILOVER | ALWAYS_PRIMARY'
		backend_hostname0 = 'h' backend_port0 = 5432 backend_data_directory0 = '/d' backend_application_name0 = 'a'
		backend_hostname5 = 'stray' backend_weight1 = 1`)
	if c == nil {
		t.Fatal(problems)
	}
	want := []Backend{
		{Hostname: "h", Port: 5432, DataDirectory: "/d", ApplicationName: "a"},
		{},
		{},
		{Hostname: "/tmp", Port: 5433, Weight: 1.5, Flag: BackendFlag{DisallowFailover: true, AlwaysPrimary: true}},
	}
	if fmt.Sprint(c.Backends) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", c.Backends, want)
	}
	wantProblem(t, problems, Warning, "backend_hostname5 is ignored", "backend_port5 is not set")
	wantProblem(t, problems, Warning, "backend_weight1 is ignored")
}

func TestHealthCheckNodes(t *testing.T) {
	c := mustLoad(t, `health_check_period1 = 5 health_check_period = 10s health_check_user = 'g' health_check_database2 = ''
		connect_timeout = 3s`)
	for node, want := range map[int]NodeHealthCheck{
		0: {Period: 10 * time.Second, Timeout: 20 * time.Second, User: "g", Database: "postgres", RetryDelay: time.Second, ConnectTimeout: 3 * time.Second},
		1: {Period: 5 * time.Second, Timeout: 20 * time.Second, User: "g", Database: "postgres", RetryDelay: time.Second, ConnectTimeout: 3 * time.Second},
		2: {Period: 10 * time.Second, Timeout: 20 * time.Second, User: "g", Database: "postgres", RetryDelay: time.Second, ConnectTimeout: 3 * time.Second},
	} {
		if got := c.HealthCheck.For(node); got != want {
			t.Errorf("node %d: %+v, want %+v", node, got, want)
		}
	}
}

// TestCrossChecks: rules about several parameters.
func TestCrossChecks(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"spare", "process_management_mode = dynamic min_spare_children = 10", "min_spare_children must be less"},
		{"spare static", "min_spare_children = 10", ""},
		{"spare and all", "process_management_mode = dynamic num_init_children = 9", "max_spare_children must not be greater"},
		{"replication", "replication_mode = on", "failover_when_quorum_exists is not allowed in native replication mode"},
		{"replication allowed", "replication_mode = on failover_when_quorum_exists = off", ""},
		{"cache entry", "memqcache_maxcache = 2MB", "memqcache_maxcache must not be greater"},
		{"cache entry memcached", "memqcache_maxcache = 2MB memqcache_method = memcached", ""},
		{"cache size", "memqcache_total_size = 1kB", "memqcache_total_size must not be less"},
		{"recovery", "recovery_1st_stage_command = 'x' backend_port1 = 5432", "backend_data_directory1 is not defined"},
		{"recovery complete", "recovery_1st_stage_command = 'x' backend_port1 = 5432 backend_data_directory1 = '/d'", ""},
		{"one agent", "backend_port0 = 5431 backend_agent0 = 'DB:97' backend_port1 = 5432 backend_agent1 = 'db:97'", "backend_agent0 and backend_agent1 name the same agent"},
		{"one agent by the host", "backend_hostname0 = 'x' backend_port0 = 5431 backend_agent0 = ':97' backend_hostname1 = 'y' backend_port1 = 5432 backend_agent1 = 'x:97'", "name the same agent"},
		{"two agents", "backend_hostname0 = 'x' backend_port0 = 5431 backend_agent0 = ':97' backend_hostname1 = 'y' backend_port1 = 5432 backend_agent1 = ':97'", ""},
		{"heartbeat without watchdog", "heartbeat_port2 = 9694", ""},
		{"heartbeat by query", "heartbeat_port2 = 9694 wd_lifecheck_method = query", ""},
		{"node id", "use_watchdog = on", "If watchdog is enable, pgpool_node_id file is required"},
		{"after a bad value", "process_management_mode = dynamic num_init_children = x", "invalid value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, problems := load(tt.text)
			if tt.want == "" {
				if c == nil {
					t.Errorf("refused: %v", problems)
				}
				return
			}
			wantProblem(t, problems, Error, tt.want)
			if n := len(errorsOf(problems)); n != 1 {
				t.Errorf("%d errors: %v", n, problems)
			}
		})
	}
}

func TestNodeID(t *testing.T) {
	text := "use_watchdog = on hostname1 = 'h' wd_port1 = 9000 pgpool_port1 = 9999 hostname3 = 'i' wd_port3 = 9000 pgpool_port3 = 9999"
	for _, tt := range []struct{ file, want string }{
		{"1\n", ""},
		{"1", ""},
		{"01\nmore", ""},
		{"", "pgpool_node_id file is empty"},
		{"\n", "pgpool_node_id file is empty"},
		{"1 \n", "pgpool_node_id is not a numeric value"},
		{"1\r\n", "pgpool_node_id is not a numeric value"},
		{"000000001", "pgpool_node_id is not a numeric value"},
		{"128", `Invalid pgpool node id "128"`},
		{"0", "no watchdog configuration for local pgpool node, pgpool node id: 0 "},
		{"2", "no watchdog configuration for local pgpool node, pgpool node id: 2 "},
	} {
		c, problems := loadWith(mainFile, memory{mainFile: text, "/etc/pgpool/pgpool_node_id": tt.file}.read)
		switch {
		case tt.want != "":
			wantProblem(t, problems, Error, tt.want)
		case c == nil:
			t.Errorf("%q: %v", tt.file, problems)
		case c.Watchdog.NodeID != 1:
			t.Errorf("%q gives %d", tt.file, c.Watchdog.NodeID)
		}
	}
	if c := Default(); c.Watchdog.NodeID != -1 {
		t.Errorf("without watchdog: %d", c.Watchdog.NodeID)
	}
}

func TestNotBuilt(t *testing.T) {
	for mode, want := range map[string]bool{
		"streaming_replication": false, "raw": false, "native_replication": true, "logical_replication": true,
		"snapshot_isolation": true,
	} {
		c := mustLoad(t, "backend_clustering_mode = "+mode)
		got := c.NotBuilt()
		if (len(got) > 0) != want {
			t.Errorf("%s: %v", mode, got)
		}
		if want {
			wantProblem(t, got, Error, mainFile+":1: ", mode+" is not built yet")
		}
	}
	_, problems := load("memory_cache_enabled = on")
	wantProblem(t, problems, Warning, "memory_cache_enabled is not built yet and acts as off")
}

func TestClientBound(t *testing.T) {
	for text, want := range map[string]int{
		"":                               32 + 64,
		"max_client_conn = 500":          500,
		"num_init_children = 9000":       19000,
		"num_init_children = 2147483647": 2147483647 + 10000,
	} {
		c := mustLoad(t, text)
		if got := c.Pool.ClientBound(); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

func TestProblemIsAnError(t *testing.T) {
	_, problems := load("port = 1")
	var p Problem
	if err := fmt.Errorf("start: %w", problems[0]); !errors.As(err, &p) || p.Name != "port" || p.Line != 1 || p.Value != "1" {
		t.Errorf("%+v", p)
	}
}

func TestLive(t *testing.T) {
	first, second := Default(), Default()
	l := NewLive(first)
	if l.Current() != first {
		t.Error("not the first")
	}
	l.Publish(second)
	if l.Current() != second {
		t.Error("not the second")
	}
}

func TestSecretsAreNotTold(t *testing.T) {
	_, problems := load("sr_chek_password = 'secret' recovery_password = 'secret\x00' system_db_password = 'secret'")
	const all = 3
	if len(problems) != all {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	for _, p := range problems {
		if strings.Contains(p.String()+p.Value, "secret") {
			t.Errorf("told: %+v", p)
		}
	}
}

func TestWithDebug(t *testing.T) {
	for text, want := range map[string]Level{
		"": LevelDebug1, "log_min_messages = debug3": LevelDebug3, "log_min_messages = log": LevelDebug1,
	} {
		c := mustLoad(t, text)
		before := c.Logging.LogMinMessages
		if got := c.WithDebug().Logging.LogMinMessages; got != want || c.Logging.LogMinMessages != before {
			t.Errorf("%s: %v", text, got)
		}
	}
}
