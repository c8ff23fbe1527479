package show

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

func load(t *testing.T) *conf.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pgpool.conf")
	if err := os.WriteFile(path, []byte(twoBackends), 0o600); err != nil {
		t.Fatal(err)
	}
	c, problems := conf.Load(path)
	if c == nil {
		t.Fatal(problems)
	}
	return c
}

const twoBackends = `backend_hostname0 = 'one'
backend_port0 = 15432
backend_weight0 = 1
backend_hostname1 = 'two'
backend_port1 = 15433
backend_weight1 = 1
`

func TestParameter(t *testing.T) {
	c := load(t)
	for _, tc := range []struct{ name, want string }{
		{"child_life_time", "child_life_time\n5min\nSELECT 1\n"},
		{"memqcache_total_size", "memqcache_total_size\n64MB\nSELECT 1\n"},
		{"load_balance_mode", "load_balance_mode\non\nSELECT 1\n"},
		{"backend_port1", "backend_port1\n15433\nSELECT 1\n"},
		{"watchdog", "item·value·description\nSELECT 0\n"},
	} {
		r, err := Parameter(c, tc.name)
		if err != nil || text(r) != tc.want {
			t.Errorf("%s:\n%s%v", tc.name, text(r), err)
		}
	}
	for name, rows := range map[string]int{"backend_weight": 2, "health_check": 24, "backend": 12} {
		if r, err := Parameter(c, name); err != nil || len(r.Rows) != rows || len(r.Columns) != 3 {
			t.Errorf("%s: %d rows, %v", name, len(r.Rows), err)
		}
	}
	if r, err := Parameter(c, "all"); err != nil || len(r.Rows) < 199 || r.Rows[0][0] != "backend_hostname0" {
		t.Errorf("all: %d rows, %v", len(r.Rows), err)
	}
}

func TestParameterErrors(t *testing.T) {
	c := load(t)
	for _, tc := range []struct{ command, name, value, state, message, detail, hint string }{
		{"show", "foo", "", "42704", `config variable "foo" not found`, "", ""},
		{"set", "foo", "1", "42704", `unrecognized configuration parameter "foo"`, "", ""},
		{"reset", "foo", "", "42704", `unrecognized configuration parameter "foo"`, "", ""},
		{"set", "port", "1", "55P02", `invalid Context, value for parameter "port" cannot be changed`, "", ""},
		{"reset", "port", "", "55P02", `invalid Context, value for parameter "port" cannot be changed`, "", ""},
		{"set", "client_idle_limit", "abc", "22023", `invalid value for parameter "client_idle_limit": "abc"`, "", "*"},
		{"set", "client_idle_limit", "-5", "22023", `-5 is outside the valid range for parameter "client_idle_limit" (0 .. *`, "", ""},
		{
			"set", "log_error_verbosity", "loud", "22023", `invalid value for parameter "log_error_verbosity": "loud"`, "",
			"Available values: *",
		},
		{
			"show", "backend_hostname1x", "", "22023", `invalid index value for parameter "backend_hostname1x" `,
			"index part contains the invalid non digit character", "",
		},
		{
			"show", "backend_hostname999", "", "22023", `invalid index 999 for configuration parameter "backend_hostname"`,
			"allowed index is between 0 and 127", "",
		},
	} {
		t.Run(tc.command+" "+tc.name, func(t *testing.T) {
			s := conf.NewSessionSettings(c)
			var err error
			switch tc.command {
			case "show":
				_, err = Parameter(c, tc.name)
			case "set":
				_, err = Set(&s, tc.name, tc.value, false)
			case "reset":
				_, err = Reset(&s, tc.name)
			}
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.SQLState() != tc.state || !matches(e.Message, tc.message) || !matches(e.Detail, tc.detail) || !matches(e.Hint, tc.hint) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// matches compares with a wanted text that may end in a star.
func matches(got, want string) bool {
	if head, ok := strings.CutSuffix(want, "*"); ok {
		return strings.HasPrefix(got, head)
	}
	return got == want
}

func TestSetAndReset(t *testing.T) {
	s := conf.NewSessionSettings(load(t))
	step := func(what string, r Result, err error, tag string, logged bool) {
		t.Helper()
		if err != nil || r.Tag != tag || len(r.Columns) != 0 || s.LogStatement() != logged {
			t.Errorf("%s: %+v, %v, log_statement %v", what, r, err, s.LogStatement())
		}
	}
	r, err := Set(&s, "log_statement", "on", false)
	step("SET", r, err, "SET", true)
	r, err = Reset(&s, "log_statement")
	step("RESET", r, err, "SET", false)
	_, _ = Set(&s, "log_statement", "on", false)
	r, err = Set(&s, "log_statement", "", true)
	step("SET TO DEFAULT", r, err, "SET", false)
	_, _ = Set(&s, "log_statement", "on", false)
	r, err = Reset(&s, "all")
	step("RESET ALL", r, err, "RESET", false)
}

func TestPoolStatus(t *testing.T) {
	v := sample()
	g := &cluster.Gauges{Nodes: []cluster.NodeGauge{{}, {Lag: 17}}}
	r := PoolStatus(load(t), v, g, Cache{Hits: 1, Selects: 2}, at("18:13:24"))
	value := map[string]string{}
	for _, row := range r.Rows {
		value[row[0]] = row[1]
		if len(row[2]) > 79 || row[2] == "" {
			t.Errorf("%s has a description of %d bytes", row[0], len(row[2]))
		}
	}
	for name, want := range map[string]string{
		"backend_clustering_mode": "1", "backend_status0": "up", "backend_status1": "up", "standby_delay1": "17",
		"backend_weight1": "0.500000", "memqcache_cache_hits": "1", "memqcache_no_cache_hits": "2",
		"memqcache_stats_start_time": "Fri Nov 20 18:13:24 2026",
	} {
		if value[name] != want {
			t.Errorf("%s is %q, want %q", name, value[name], want)
		}
	}
	if r.Rows[0][0] != "backend_clustering_mode" || len(r.Rows) < 165 {
		t.Errorf("%d rows, the first is %s", len(r.Rows), r.Rows[0][0])
	}

	g.Nodes[1].HasLagTime, g.Nodes[1].LagTime = true, 3*time.Second
	r = PoolStatus(load(t), v, g, Cache{}, time.Time{})
	for _, row := range r.Rows {
		if row[0] == "standby_delay1" && row[1] != "3000000" {
			t.Errorf("delay by time: %s", row[1])
		}
	}
}
