package site

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings are parameters of pgpool.conf and their values, without quotes around them.
type Settings map[string]string

// With is the settings with others in the place of those of the same names.
func (s Settings) With(others ...Settings) Settings {
	all := maps.Clone(s)
	for _, other := range others {
		maps.Copy(all, other)
	}
	return all
}

// Text is the lines of pgpool.conf, in the order of names.
func (s Settings) Text() string {
	quote := strings.NewReplacer("'", "''")
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quote.Replace(s[name]))
	}
	return b.String()
}

// Backends describes servers to pgpool, in the order of their numbers.
func Backends(servers ...*Server) Settings {
	s := Settings{}
	for i, p := range servers {
		set := func(name, value string) { s[fmt.Sprintf("backend_%s%d", name, i)] = value }
		set("hostname", p.Host.Name)
		set("port", "5432")
		set("weight", "1")
		set("data_directory", p.Data)
		set("flag", "ALLOW_TO_FAILOVER")
		set("application_name", p.Host.Name)
	}
	return s
}

// Profile is what makes a watchdog fast enough for a test. A leader that is cut off has lost the virtual address three seconds later.
func Profile() Settings {
	return Settings{
		"wd_interval": "1", "wd_heartbeat_keepalive": "1", "wd_heartbeat_deadtime": "3", "wd_lease_time": "3",
		"health_check_period": "1", "health_check_timeout": "3", "health_check_max_retries": "1", "health_check_retry_delay": "1",
		"sr_check_period": "1", "search_primary_node_timeout": "30",
	}
}

// VIPSettings are the commands that raise and lower an address on a device as the manual's examples do.
func VIPSettings(vip, device string, bits int) Settings {
	return Settings{
		"delegate_ip": vip, "if_cmd_path": "/sbin", "arping_path": "/usr/sbin",
		"if_up_cmd":   fmt.Sprintf("ip addr add $_IP_$/%d dev %s label %s:0", bits, device, device),
		"if_down_cmd": fmt.Sprintf("ip addr del $_IP_$/%d dev %s", bits, device),
		"arping_cmd":  "arping -U $_IP_$ -w 1 -I " + device,
	}
}
