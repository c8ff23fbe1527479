package conf

import (
	"fmt"
	"slices"
	"testing"
)

// reload puts a new text in place of the one c came from.
func reload(c *Config, text string) (*Config, []Change, []Problem) {
	return c.reloadWith(mainFile, memory{mainFile: text}.read)
}

func changeTexts(changes []Change) []string {
	var texts []string
	for _, c := range changes {
		s := fmt.Sprintf("%s %s>%s", c.Name, c.Old, c.New)
		if c.NeedsRestart {
			s += " restart"
		}
		if c.NewNode {
			s += " new"
		}
		texts = append(texts, s)
	}
	return texts
}

func TestReload(t *testing.T) {
	backend := "backend_hostname0 = 'a' backend_port0 = 5432 backend_weight0 = 1\n"
	for _, tt := range []struct {
		name, before, after string
		want                []string
		show                map[string]string // afterwards
	}{
		{"nothing", "port = 5000", "port=0x1388 # same", nil, map[string]string{"port": "5000"}},
		{
			"reloadable", "log_connections = off", "log_connections = on",
			[]string{"log_connections off>on"},
			map[string]string{"log_connections": "on"},
		},
		{
			"start only", "port = 5000", "port = 6000 sr_check_period = 3",
			[]string{"port 5000>6000 restart", "sr_check_period 10s>3s"},
			map[string]string{"port": "5000", "sr_check_period": "3s"},
		},
		{
			"start only removed", "port = 5000", "",
			[]string{"port 5000>9999 restart"},
			map[string]string{"port": "5000"},
		},
		{
			"removed returns to the default", "sr_check_user = 'u'", "",
			[]string{"sr_check_user u>"},
			map[string]string{"sr_check_user": ""},
		},
		{
			"secret", "sr_check_password = 'a'", "sr_check_password = 'b'",
			[]string{"sr_check_password *****>*****"},
			nil,
		},
		{
			"lists are replaced", "write_function_list = 'a,b'", "write_function_list = 'b'",
			[]string{"write_function_list a,b>b"},
			map[string]string{"write_function_list": "b"},
		},
		{
			"weight and flag", backend, "backend_hostname0 = 'a' backend_port0 = 5432 backend_weight0 = 2 backend_flag0 = 'ALWAYS_PRIMARY'",
			[]string{"backend_flag0 ALLOW_TO_FAILOVER>ALLOW_TO_FAILOVER|ALWAYS_PRIMARY", "backend_weight0 1>2"},
			map[string]string{"backend_weight0": "2"},
		},
		{
			"flag removed", backend + "backend_flag0 = 'ALWAYS_PRIMARY'", backend,
			[]string{"backend_flag0 ALLOW_TO_FAILOVER|ALWAYS_PRIMARY>ALLOW_TO_FAILOVER"},
			map[string]string{"backend_flag0": "ALLOW_TO_FAILOVER"},
		},
		{
			"address of a node", backend, "backend_hostname0 = 'b' backend_port0 = 5433 backend_weight0 = 1",
			[]string{"backend_hostname0 a>b restart", "backend_port0 5432>5433 restart"},
			map[string]string{"backend_hostname0": "a", "backend_port0": "5432"},
		},
		{
			"new node", backend, backend + "backend_port2 = 5434 backend_hostname2 = 'c'",
			[]string{"backend_hostname2 >c new", "backend_port2 0>5434 new"},
			map[string]string{"backend_hostname2": "c", "backend_port2": "5434"},
		},
		{
			"node removed", backend, "",
			[]string{"backend_hostname0 a> restart", "backend_port0 5432>0 restart", "backend_weight0 1>0 restart"},
			map[string]string{"backend_hostname0": "a", "backend_weight0": "1"},
		},
		{
			"health check of a node", "", "health_check_period1 = 5",
			[]string{"health_check_period1 0>5"},
			map[string]string{"health_check_period1": "5", "health_check_period0": "0"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustLoad(t, tt.before)
			next, changes, problems := reload(c, tt.after)
			if Refused(problems) {
				t.Fatal(problems)
			}
			if got := changeTexts(changes); !slices.Equal(got, tt.want) {
				t.Errorf("changes\n got %q\nwant %q", got, tt.want)
			}
			for name, want := range tt.show {
				if s, err := next.Show(name); err != nil || s.Items[0].Value != want {
					t.Errorf("%s is %v, want %s", name, s.Items, want)
				}
			}
			again, changes, _ := reload(next, tt.before)
			if back := changeTexts(changes); slices.ContainsFunc(changes, func(c Change) bool { return c.NeedsRestart }) && tt.name != "new node" {
				t.Errorf("going back needs a restart: %q", back)
			}
			if again == nil {
				t.Error("no configuration")
			}
		})
	}
}

// TestReloadRefused: one bad value and nothing changes.
func TestReloadRefused(t *testing.T) {
	for _, text := range []string{
		"sr_check_period = 3 log_connections = maybe",
		"sr_check_period = 3\nport =",
		"sr_check_period = 3 process_management_mode = dynamic min_spare_children = 50",
		"sr_check_period = 3 num_init_children = 100 max_spare_children = 40 process_management_mode = dynamic", // the running 32 are too few
	} {
		c := mustLoad(t, "port = 5000")
		next, changes, problems := reload(c, text)
		if next != c || changes != nil || !Refused(problems) {
			t.Errorf("%s: %v %v", text, changes, problems)
		}
	}
	running := mustLoad(t, "max_spare_children = 5")
	_, _, problems := reload(running, "num_init_children = 100 max_spare_children = 40 process_management_mode = dynamic")
	if Refused(problems) {
		wantProblem(t, problems, Error, "must not be greater than num_init_children", "count with their running values")
	} else {
		t.Error("accepted")
	}
	c := mustLoad(t, "")
	next, _, problems := c.reloadWith(mainFile, memory{}.read)
	if next != c || !Refused(problems) {
		t.Error("a missing file must not reset everything")
	}
}

func TestReloadKeepsNodeID(t *testing.T) {
	text := "use_watchdog = on " + numberedNodes(2)
	m := memory{mainFile: text, "/etc/pgpool/pgpool_node_id": "0"}
	c, problems := loadWith(mainFile, m.read)
	if c == nil {
		t.Fatal(problems)
	}
	m["/etc/pgpool/pgpool_node_id"] = "1"
	next, changes, _ := c.reloadWith(mainFile, m.read)
	if next.Watchdog.NodeID != 0 || !slices.Equal(changeTexts(changes), []string{"pgpool_node_id 0>1 restart"}) {
		t.Errorf("node %d, %v", next.Watchdog.NodeID, changes)
	}
}
