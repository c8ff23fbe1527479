package conf

import (
	"io"
	"os"
	"testing"
)

// FuzzLoad: whatever a file says, loading answers, and what it accepts can be shown, reported and read again unchanged.
func FuzzLoad(f *testing.F) {
	sample, err := os.ReadFile("../pgpool.conf.sample")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(sample[len(sample)/2:]))
	for _, s := range []string{
		twoNodes + "health_check_period1 = 5s",
		"include 'x'\nuse_watchdog = on wd_hostname = 'a' other_pgpool_hostname0 = 'b' heartbeat_destination0 = 'c' heartbeat_device0 = 'e'",
		"master_slave_mode = on master_slave_sub_mode = logical replication_mode = off",
		"use_watchdog = on wd_hostname = 'B' other_pgpool_hostname0 = 'b' other_wd_port0 = 09000 delegate_ip = '::1' delegate_device = 'x'",
		"wd_port = x other_pgpool_hostname1 = '' other_pgpool_hostname2 = 'c' heartbeat_destination3 = 'd' heartbeat_device3 = 'e' wd_interval = 0",
		"delegate_device = 'x' if_up_cmd = ' ' if_down_cmd = 'd' wd_lease_time = 2999ms wd_state_directory = 'a/../b' delegate_prefix = 0",
		"user_redirect_preference_list = 'a:1(0.5),b:standby' write_function_list = 'a(,^b|c$'",
		"log_destination = 'stderr,syslog' delay_threshold = 1.5GB memqcache_expire = '9e18us' backend_weight127 = 1e8",
		"primary_routing_query_pattern_list = 'a\\;b;[^x]*' dml_adaptive_object_relationship_list = 'a:b,f():c'",
		"backend_port128=1 hostname_x = y heartbeat_port255 = 5000 heartbeat_hostname255 'h'",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const bound = 1 << 12
		if len(text) > bound {
			t.Skip("longer texts take too much of the fuzzing time")
		}
		c, problems := load(text)
		if (c == nil) != Refused(problems) {
			t.Fatalf("configuration %v with %v", c != nil, problems)
		}
		if err := c.Report(io.Discard, problems); err != nil {
			t.Fatal(err)
		}
		if c == nil {
			return
		}
		c.ShowAll()
		c.PoolStatus(Runtime{})
		next, changes, problems := reload(c, text)
		if len(changes) > 0 || Refused(problems) {
			t.Fatalf("the same text again: %v %v", changes, problems)
		}
		if _, changes, problems = reload(next, ""); len(changes) == 0 && !Refused(problems) {
			for k := range c.assigned {
				if p := params().byName[k.name]; c.exact(p, k.index) != defaultAt(mainFile).exact(p, k.index) {
					t.Fatalf("no change of %s", displayName(k))
				}
			}
		}
	})
}

func FuzzSessionSet(f *testing.F) {
	f.Add("client_idle_limit", "5 min")
	f.Add("log_min_messages", "debug")
	f.Add("backend_port0", "0x10")
	f.Fuzz(func(t *testing.T, name, value string) {
		s := NewSessionSettings(Default())
		if err := s.Set(name, value); err == nil {
			shown, err := s.Config().Show(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Set(name, shown.Items[0].Value); err != nil {
				t.Errorf("what SHOW prints cannot be set: %v", err)
			}
		}
	})
}
