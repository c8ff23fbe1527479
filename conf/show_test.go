package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const twoNodes = "backend_hostname0 = 'a' backend_port0 = 5432 backend_weight0 = 1\n" +
	"backend_hostname1 = 'b' backend_port1 = 5433 backend_weight1 = 3 backend_flag1 = 'DISALLOW_TO_FAILOVER|ALWAYS_PRIMARY'\n"

func itemTexts(items []Item) []string {
	var texts []string
	for _, i := range items {
		texts = append(texts, i.Name+"="+i.Value)
	}
	return texts
}

// TestShow: PGPOOL SHOW.
func TestShow(t *testing.T) {
	c := mustLoad(t, twoNodes+`sr_check_password = 'secret' wd_authkey = 'clear' health_check_period1 = 120 connect_timeout = 20s
		unix_socket_permissions = 0700 listen_addresses = 'a, b'
		hostname1 = 'w' wd_port1 = 9000 pgpool_port1 = 9999 heartbeat_hostname1 = 'h1;h2' heartbeat_port1 = 9694`)
	for _, tt := range []struct {
		name  string
		table bool
		want  string
	}{
		{"child_life_time", false, "child_life_time=5min"},
		{"memqcache_total_size", false, "memqcache_total_size=64MB"},
		{"load_balance_mode", false, "load_balance_mode=on"},
		{"unix_socket_permissions", false, "unix_socket_permissions=0700"},
		{"log_file_mode", false, "log_file_mode=384"},
		{"listen_addresses", false, "listen_addresses=a, b"},
		{"user_redirect_preference_list", false, "user_redirect_preference_list="},
		{"sr_check_password", false, "sr_check_password=*****"},
		{"pool_passwd", false, "pool_passwd=*****"},
		{"wd_authkey", false, "wd_authkey=*****"},
		{"backend_port1", false, "backend_port1=5433"},
		{"backend_port5", false, "backend_port5=0"},
		{"backend_hostname5", false, "backend_hostname5="},
		{"health_check_period1", false, "health_check_period1=120"},
		{"health_check_password1", false, "health_check_password1=*****"},
		{"backend_weight", true, "backend_weight0=1 backend_weight1=3"},
		{"connect_timeout", true, "connect_timeout=20000 connect_timeout0=20000 connect_timeout1=20000"},
		{"watchdog", true, "hostname1=w pgpool_port1=9999 wd_port1=9000"},
		{"heartbeat", true, "heartbeat_device1= heartbeat_hostname1=h1;h2 heartbeat_port1=9694"},
		{"backend", true, "backend_hostname0=a backend_port0=5432 backend_weight0=1 backend_data_directory0= backend_application_name0= " +
			"backend_flag0=ALLOW_TO_FAILOVER backend_hostname1=b backend_port1=5433 backend_weight1=3 backend_data_directory1= " +
			"backend_application_name1= backend_flag1=DISALLOW_TO_FAILOVER|ALWAYS_PRIMARY"},
	} {
		s, err := c.Show(tt.name)
		if got := strings.Join(itemTexts(s.Items), " "); err != nil || got != tt.want || s.Table != tt.table {
			t.Errorf("%s: table %v %v\n got %s\nwant %s", tt.name, s.Table, err, got, tt.want)
		}
	}
	s, err := c.Show("health_check")
	var names []string
	for _, i := range s.Items[:9] {
		names = append(names, strings.TrimPrefix(i.Name, "health_check_"))
	}
	want := strings.Fields("period timeout user password database max_retries retry_delay connect_timeout period0")
	if err != nil || len(s.Items) != 8+2*8 || !slices.Equal(names, want) {
		t.Errorf("health_check: %d rows, %v", len(s.Items), names)
	}
}

func TestShowErrors(t *testing.T) {
	for name, want := range map[string]SettingError{
		"foo":                {Message: `config variable "foo" not found`},
		"PORT":               {Message: `config variable "PORT" not found`},
		"backend_hostname1x": {Message: `invalid index value for parameter "backend_hostname1x" `, Detail: "index part contains the invalid non digit character"},
		"backend_port200":    {Message: `invalid index 200 for configuration parameter "backend_port"`, Detail: "allowed index is between 0 and 127"},
		"heartbeat_port999":  {Message: `invalid index 999 for configuration parameter "heartbeat_port"`, Detail: "allowed index is between 0 and 255"},
	} {
		_, err := Default().Show(name)
		wantSettingError(t, name, err, want)
	}
}

func wantSettingError(t *testing.T, what string, err error, want SettingError) {
	t.Helper()
	var got *SettingError
	if !errors.As(err, &got) || *got != want || got.SQLState() != "XX000" {
		t.Errorf("%s: %#v, want %#v", what, err, want)
	}
}

// TestShowAll: 199 rows of Pgpool-II with two backends, and ours.
func TestShowAll(t *testing.T) {
	c := mustLoad(t, twoNodes)
	ours, group := 0, 0
	for _, p := range Params() {
		switch {
		case p.Family == FamilyBackendTLS:
			group += 3 // for all nodes and for two
		case p.Family == FamilyAgent:
			group += 2
		case p.Ours:
			ours++
		}
	}
	ours += group
	items := c.ShowAll()
	if len(items) != 199+ours {
		t.Errorf("%d rows, want 199 and %d", len(items), ours)
	}
	if items[0].Name != "backend_hostname0" || items[12].Name != "health_check_period" {
		t.Errorf("groups do not come first: %v", itemTexts(items[:13]))
	}
	plain := items[12+8+16+group:]
	if !slices.IsSortedFunc(plain, func(a, b Item) int { return len(b.Name) - len(a.Name) }) {
		t.Error("longest names do not come first")
	}
	for _, i := range items {
		if i.Description == "" {
			t.Errorf("%s has no description", i.Name)
		}
	}
	again, err := c.Show("ALL")
	if err != nil || !again.Table || !slices.Equal(again.Items, items) {
		t.Error("SHOW ALL differs")
	}
}

// TestPoolStatus: order and formats of SHOW pool_status, 165 rows with two backends in Pgpool-II.
func TestPoolStatus(t *testing.T) {
	c := mustLoad(t, twoNodes+"client_min_messages = debug1 child_life_time = 5min ssl = on read_only_function_list = 'a , b'")
	items := c.PoolStatus(Runtime{
		BackendStatus: []string{"up", "waiting"}, StandbyDelay: []int64{0, 42}, CacheHits: 7,
		CacheStatsStart: time.Date(2026, 11, 5, 18, 13, 24, 0, time.UTC),
	})
	ours := slices.IndexFunc(items, func(i Item) bool { p := params().byName[i.Name]; return p != nil && p.Ours })
	if ours != 165 {
		t.Errorf("%d rows before ours, want 165", ours)
	}
	values := make(map[string]string)
	for _, i := range items {
		if _, twice := values[i.Name]; twice || i.Description == "" || len(i.Description) > 79 {
			t.Errorf("bad row %+v", i)
		}
		values[i.Name] = i.Value
	}
	for name, want := range map[string]string{
		"backend_clustering_mode": "1", "ssl": "1", "log_statement": "0", "child_life_time": "300", "connect_timeout": "10000",
		"client_min_messages": "14", "log_min_messages": "19", "log_error_verbosity": "1", "log_backend_messages": "1",
		"log_standby_delay": "2", "disable_load_balance_on_write": "2", "check_temp_table": "1", "wd_lifecheck_method": "2",
		"memqcache_method": "1", "syslog_facility": "LOCAL0", "unix_socket_permissions": "0777", "log_destination": "stderr",
		"reset_query_list": "ABORT;DISCARD ALL", "user_redirect_preference_list": "(null)", "cache_safe_memqcache_table_list": "(null)",
		"memqcache_total_size": "67108864", "memqcache_cache_oiddir": "/var/log/pgpool/oiddir", "memqcache_cache_hits": "7",
		"memqcache_no_cache_hits": "0", "memqcache_stats_start_time": "Thu Nov  5 18:13:24 2026", "pool_passwd": "pool_passwd",
		"process_management_mode": "1", "process_management_strategy": "2", "relcache_query_target": "1",
		"backend_weight0": "0.250000", "backend_weight1": "0.750000", "backend_status0": "up", "backend_status1": "waiting",
		"standby_delay1": "42", "backend_flag1": "DISALLOW_TO_FAILOVER|ALWAYS_PRIMARY", "read_only_function_list": "a , b",
		"write_function_list": "",
	} {
		if values[name] != want {
			t.Errorf("%s is %q, want %q", name, values[name], want)
		}
	}
	got := itemTexts(items[ours-16 : ours])
	for n := range 2 {
		for i, name := range strings.Fields("hostname port weight data_directory status delay flag application_name") {
			prefix := fmt.Sprintf("backend_%s%d=", name, n)
			if name == "delay" {
				prefix = fmt.Sprintf("standby_delay%d=", n)
			}
			if row := got[n*8+i]; !strings.HasPrefix(row, prefix) {
				t.Errorf("row %s, want %s", row, prefix)
			}
		}
	}
}

// TestStatusLists: every name of the order exists, and what is not shown is left out on purpose.
func TestStatusLists(t *testing.T) {
	shown := make(map[string]bool)
	for _, i := range Default().PoolStatus(Runtime{}) {
		shown[i.Name] = true
	}
	for _, p := range Params() {
		if p.Secret && p.Name != "pool_passwd" && shown[p.Name] {
			t.Errorf("%s is shown", p.Name)
		}
	}
}
