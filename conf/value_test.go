package conf

import (
	"slices"
	"strings"
	"testing"
)

// TestValues: Parameter Names and Values. A result starting with ! is part of the error.
func TestValues(t *testing.T) {
	const timeUnits, sizeUnits = `!Valid units for this parameter are "us", "ms", "s", "min", "h", and "d".`,
		`!Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".`
	for _, tt := range []struct{ name, value, want string }{
		{"ssl", "on", "on"},
		{"ssl", "T", "on"},
		{"ssl", "Ye", "on"},
		{"ssl", "1", "on"},
		{"ssl", "of", "off"},
		{"ssl", "FALSE", "off"},
		{"ssl", "n", "off"},
		{"ssl", "0", "off"},
		{"ssl", "o", `!invalid value for parameter "ssl": "o"`},
		{"ssl", "", `!invalid value for parameter "ssl": ""`},
		{"ssl", "maybe", "!invalid value"},
		{"ssl", "truex", "!invalid value"},

		{"port", "5433", "5433"},
		{"port", " 5433 ", "5433"},
		{"port", "0x1F40", "8000"},
		{"port", "017500", "8000"},
		{"port", "8000.4", "8000"},
		{"port", "8e3", "8000"},
		{"port", "80", `!80 is outside the valid range for parameter "port" (1024 .. 65535)`},
		{"port", "65536", "!65536 is outside the valid range"},
		{"port", "99999999999999999999", "!outside the valid range"},
		{"port", "0199", `!invalid value for parameter "port": "0199"`},
		{"port", "x", `!invalid value for parameter "port": "x"`},
		{"port", "", "!invalid value"},
		{"port", "8000s", `!invalid value for parameter "port": "8000s"`},
		{"port", "0x", "!invalid value"},
		{"port", "0b1", "!invalid value"},
		{"port", "8_000", "!invalid value"},
		{"port", "inf", "!invalid value"},

		{"child_life_time", "300", "5min"},
		{"child_life_time", "90", "90s"},
		{"child_life_time", "2h", "2h"},
		{"child_life_time", "1 d", "1d"},
		{"child_life_time", "1500ms", "2s"},
		{"child_life_time", "1.5min", "90s"},
		{"child_life_time", "0", "0"},
		{"child_life_time", "-1", "!-1 is outside the valid range for parameter \"child_life_time\" (0 .. 2147483647)"},
		{"child_life_time", "5 S", timeUnits},
		{"child_life_time", "5kB", timeUnits},
		{"child_life_time", "9e300", "!outside"},
		{"child_life_time", "9223372036854775807d", "!outside"},
		{"client_idle_limit_in_recovery", "-1", "-1"},
		{"client_idle_limit_in_recovery", "-2", "!-2 is outside the valid range"},
		{"delay_threshold_by_time", "1500", "1500ms"},
		{"delay_threshold_by_time", "2min", "2min"},
		{"log_rotation_age", "1440", "1d"},
		{"log_rotation_age", "2147483647", "!outside"},
		{"relcache_expire", "9223372037", "!outside"},

		{"memqcache_total_size", "67108864", "64MB"},
		{"memqcache_total_size", "1.5GB", "1536MB"},
		{"memqcache_total_size", "1gb", sizeUnits},
		{"memqcache_total_size", "9223372036854775807", "9223372036854775807B"},
		{"memqcache_total_size", "9223372036854775807TB", "!outside"},
		{"memqcache_maxcache", "409600", "400kB"},
		{"log_rotation_size", "10240", "10MB"},
		{"log_rotation_size", "3GB", "!3145728 is outside the valid range for parameter \"log_rotation_size\" (0 .. 2097151)"},
		{"delay_threshold", "0", "0"},

		{"unix_socket_permissions", "0770", "0770"},
		{"unix_socket_permissions", "01000", "!outside"},
		{"log_file_mode", "0600", "384"},

		{"wd_listen_port", "0", "0"},
		{"wd_listen_port", "80", "!outside"},

		{"log_min_messages", "DEBUG", "debug2"},
		{"log_error_verbosity", "Verbose", "verbose"},
		{"backend_clustering_mode", "streaming-replication", `!invalid value for parameter "backend_clustering_mode": "streaming-replication"`},
		{"backend_clustering_mode", "slony", "!Available values: streaming_replication, native_replication, logical_replication, raw, snapshot_isolation."},
		{"log_min_messages", "x", "!Available values: debug5, debug4, debug3, debug2, debug1, log, info, notice, warning, error, fatal, panic."},
		{"check_temp_table", "on", "on"},
		{"syslog_facility", "local3", "LOCAL3"},

		{"log_destination", "stderr, syslog", "stderr, syslog"},
		{"log_destination", "STDERR", "!unknown destination :STDERR"},
		{"user_redirect_preference_list", "a:primary,b:200", `!wrong redirect db node spec: "200"`},
		{"user_redirect_preference_list", "a(:primary", "!invalid regular expression"},
		{"user_redirect_preference_list", "a:1(2)", "!ratio"},
		{"dml_adaptive_object_relationship_list", "a", "!object:dependent"},
		{"app_name_redirect_preference_list", "a:primary,end", "!wrong redirect entry"},
		{"pid_file_name", "run/p.pid", "run/p.pid"},
	} {
		t.Run(tt.name+"="+tt.value, func(t *testing.T) {
			c, problems := load(tt.name + " = '" + tt.value + "'")
			want, isError := strings.CutPrefix(tt.want, "!")
			if isError {
				wantProblem(t, problems, Error, mainFile+":1: ", want)
				return
			}
			if c == nil {
				t.Fatalf("refused: %v", problems)
			}
			s, err := c.Show(tt.name)
			if err != nil || len(s.Items) == 0 || s.Items[0].Value != want {
				t.Errorf("got %v %v, want %q", s.Items, err, want)
			}
		})
	}
}

func TestLists(t *testing.T) {
	c := mustLoad(t, `listen_addresses = ' a, ,b ,'
		reset_query_list = ' ABORT ; DISCARD ALL;;'
		primary_routing_query_pattern_list = 'SELECT 1;a\;b; x\'y\d;[a'
		read_only_function_list = 'get_.*, (, ^set|x$'
		app_name_redirect_preference_list = 'psql:primary,my[0-4]:1(0.5),.*:STANDBY(0.3)'
		dml_adaptive_object_relationship_list = 'a:b , f():c,f2():g()'`)
	if got := c.Connections.ListenAddresses; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("listen_addresses %q", got)
	}
	if got := c.Pool.ResetQueryList; !slices.Equal(got, []string{"ABORT", "DISCARD ALL"}) {
		t.Errorf("reset_query_list %q", got)
	}
	for name, want := range map[string]bool{"get_x": true, "GET_": true, "forget_y": false, "settle": true, "ax": true, "b": false} {
		if c.LoadBalance.ReadOnlyFunctionList.Match(name) != want {
			t.Errorf("read_only_function_list: Match(%q) = %v", name, !want)
		}
	}
	for query, want := range map[string]bool{"select 1": true, "A;B": true, " x'y5": true, "x'y5": false, "select 12": false} {
		if c.LoadBalance.PrimaryRoutingQueryPatternList.Match(query) != want {
			t.Errorf("primary_routing_query_pattern_list: Match(%q) = %v", query, !want)
		}
	}
	apps := &c.LoadBalance.AppNameRedirectPreferenceList
	for name, want := range map[string]Redirect{
		"PSQL": {Kind: RedirectPrimary, Ratio: 1},
		"my3":  {Kind: RedirectNode, Node: 1, Ratio: 0.5},
		"z":    {Kind: RedirectStandby, Ratio: 0.3},
	} {
		got, ok := apps.Find(name)
		got.Pattern = nil
		if !ok || got != want {
			t.Errorf("Find(%q) = %+v, want %+v", name, got, want)
		}
	}
	if len(apps.Rules) != 3 {
		t.Errorf("%d rules", len(apps.Rules))
	}
	want := []ObjectRelationship{
		{Object: "a", Dependent: "b"},
		{Object: "f", Dependent: "c", ObjectIsFunction: true},
		{Object: "f2", Dependent: "g", ObjectIsFunction: true, DependentIsFunction: true},
	}
	if got := c.LoadBalance.DmlAdaptiveObjectRelationshipList.List; !slices.Equal(got, want) {
		t.Errorf("relationships %+v", got)
	}
}

func TestPatternThatDoesNotCompile(t *testing.T) {
	c, problems := load("write_function_list = 'a(,b'")
	wantProblem(t, problems, Warning, mainFile+":1", "write_function_list", `"a("`)
	if c == nil || !c.LoadBalance.WriteFunctionList.Match("b") {
		t.Error("the other expression must stay")
	}
}

// TestPatternsSpanLines: the whole text counts, a dot matches a line end.
func TestPatternsSpanLines(t *testing.T) {
	c := mustLoad(t, "primary_routing_query_pattern_list = '.*from t1.*'")
	if p := &c.LoadBalance.PrimaryRoutingQueryPatternList; !p.Match("SELECT *\nFROM T1\nWHERE true") {
		t.Error("no match across lines")
	}
	c = mustLoad(t, "primary_routing_query_pattern_list = 'select 1'")
	if p := &c.LoadBalance.PrimaryRoutingQueryPatternList; p.Match("select 1\nunion select 2") {
		t.Error("match of one line only")
	}
}

func TestLevels(t *testing.T) {
	for _, tt := range []struct {
		message, least Level
		want           bool
	}{
		{LevelLog, LevelError, true},
		{LevelLog, LevelDebug5, true},
		{LevelLog, LevelFatal, false},
		{LevelError, LevelLog, false},
		{LevelFatal, LevelLog, true},
		{LevelLog, LevelLog, true},
		{LevelWarning, LevelWarning, true},
		{LevelNotice, LevelWarning, false},
	} {
		if got := tt.message.Logged(tt.least); got != tt.want {
			t.Errorf("%v.Logged(%v) = %v", tt.message, tt.least, got)
		}
	}
}
