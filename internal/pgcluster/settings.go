package pgcluster

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// NodeConf is the file in a data directory with all settings of a server. postgresql.conf includes it and recoveryConf, so that
// a base backup of one node becomes another by replacing them.
const (
	NodeConf     = "pgcluster.conf"
	recoveryConf = "myrecovery.conf"
)

const includeLines = "\ninclude_if_exists = '" + NodeConf + "'\ninclude_if_exists = '" + recoveryConf + "'\n"

// nodeSettings is the text of NodeConf. Later lines win, so the caller's settings come last.
func (n *Node) nodeSettings() string {
	o := n.cluster.opts
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "%s = %s\n", name, quote(value)) }
	set("port", fmt.Sprint(n.Port))
	set("listen_addresses", o.Listen)
	set("unix_socket_directories", n.cluster.SocketDir)
	set("cluster_name", n.Name)
	set("max_connections", "200")
	set("shared_buffers", "32MB")
	set("dynamic_shared_memory_type", "mmap") // in the data directory: nothing is left in /dev/shm after a kill
	set("wal_level", "replica")
	set("wal_log_hints", "on") // pg_rewind asks for it
	set("max_wal_senders", "20")
	set("max_replication_slots", "20")
	set("wal_keep_size", "128MB") // with slots too: base backups taken at once lost a segment without it
	set("hot_standby", "on")
	set("wal_retrieve_retry_interval", "200ms")
	set("log_line_prefix", "%m [%p] %q%a ")
	// Where logging_collector is on, whoever starts the server: the file that its stderr goes to otherwise.
	set("log_directory", filepath.Dir(n.Log))
	set("log_filename", filepath.Base(n.Log))
	set("log_rotation_age", "0")
	set("log_rotation_size", "0")
	set("timezone", "UTC")
	set("log_timezone", "UTC")
	if !o.Fsync {
		set("fsync", "off")
	}
	if o.Archive {
		set("archive_mode", "on")
		set("archive_command", fmt.Sprintf("cp %%p %s/%%f", ShellQuote(n.archive())))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Config)) {
		set(name, o.Config[name])
	}
	return b.String()
}

// recoverySettings is the text of recoveryConf for a standby of up.
func (n *Node) recoverySettings(up *Node) string {
	o := n.cluster.opts
	info := fmt.Sprintf("host=%s port=%d user=%s application_name=%s", up.Host, up.Port, conninfoQuote(o.User), n.Name)
	if o.Password != "" {
		info += " password=" + conninfoQuote(o.Password)
	}
	text := fmt.Sprintf("primary_conninfo = %s\nrecovery_target_timeline = 'latest'\n", quote(info))
	if o.Slots {
		text += fmt.Sprintf("primary_slot_name = %s\n", quote(n.Slot()))
	}
	if o.Archive {
		text += fmt.Sprintf("restore_command = %s\n", quote(fmt.Sprintf("cp %s/%%f %%p", ShellQuote(up.archive()))))
	}
	return text
}

func (c *Cluster) hba() string {
	method := c.opts.Auth
	return c.opts.HBA + fmt.Sprintf(`local all all %[1]s
host all all 127.0.0.1/32 %[1]s
host all all ::1/128 %[1]s
local replication all %[1]s
host replication all 127.0.0.1/32 %[1]s
host replication all ::1/128 %[1]s
`, method)
}

// quote writes a value as postgresql.conf reads it.
func quote(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(value) + "'"
}

func conninfoQuote(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// ShellQuote writes a value as one word of a shell.
func ShellQuote(value string) string { return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'" }
