package pgcluster

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// confText is pgpool.conf: one line a parameter, in the order of names, with the numbered ones of the backends last.
func (p *Pgpool) confText() (string, error) {
	settings := p.baseConf()
	maps.Copy(settings, p.opts.Conf)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := settings[name]
		if strings.ContainsAny(value, "'\n") {
			return "", fmt.Errorf("pgpool.conf: %s: a value cannot hold an apostrophe or a newline", name)
		}
		fmt.Fprintf(&b, "%s = '%s'\n", name, value)
	}
	return b.String() + p.opts.ConfText, nil
}

func (p *Pgpool) baseConf() map[string]string {
	o := p.cluster.opts
	mode := "streaming_replication"
	if o.Raw {
		mode = "raw"
	}
	settings := map[string]string{
		"backend_clustering_mode": mode,
		"listen_addresses":        o.Listen,
		"port":                    fmt.Sprint(p.Port),
		"unix_socket_directories": p.RunDir,
		"pcp_listen_addresses":    o.Listen,
		"pcp_port":                fmt.Sprint(p.PCPPort),
		"pcp_socket_dir":          p.RunDir,
		"pid_file_name":           filepath.Join(p.RunDir, "pgpool.pid"),
		"work_dir":                p.LogDir,
		"pool_passwd":             filepath.Join(p.EtcDir, "pool_passwd"),
		"sr_check_user":           o.User,
		"sr_check_database":       "postgres",
		"health_check_user":       o.User,
		"health_check_database":   "postgres",
	}
	if o.Password != "" {
		settings["sr_check_password"] = o.Password
		settings["health_check_password"] = o.Password
	}
	for i, n := range p.cluster.Nodes {
		if p.opts.Servers > 0 && i >= p.opts.Servers {
			break
		}
		set := func(name, value string) { settings[fmt.Sprintf("backend_%s%d", name, n.ID)] = value }
		set("hostname", n.Host)
		set("port", fmt.Sprint(n.Port))
		set("weight", "1")
		set("data_directory", n.DataDir)
		set("application_name", n.Name)
		set("flag", "ALLOW_TO_FAILOVER")
	}
	return settings
}

func (c *Cluster) defaultPasswd() string {
	if c.opts.Password == "" {
		return ""
	}
	return PasswdLine(c.opts.User, c.opts.Password)
}

// PasswdLine is a line of pool_passwd with the password in clear text.
func PasswdLine(user, password string) string {
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	return escape.Replace(user) + ":TEXT" + escape.Replace(password) + "\n"
}

// MD5Hex is how pcp.conf keeps a password.
func MD5Hex(password string) string {
	sum := md5.Sum([]byte(password))
	return hex.EncodeToString(sum[:])
}
