package conf

import (
	"slices"
	"testing"
)

// TestDebianDefaults: a file in the directory of Debian's package means what that package means by it.
func TestDebianDefaults(t *testing.T) {
	load := func(path, text string) *Config {
		c, problems := loadWith(path, func(string) ([]byte, error) { return []byte(text), nil })
		if Refused(problems) {
			t.Fatal(problems)
		}
		return c
	}
	debian, other := load("/etc/pgpool2/pgpool.conf", ""), load("/etc/pgpool-II/pgpool.conf", "")
	const run = "/var/run/postgresql"
	if c := debian; !slices.Equal(c.Connections.UnixSocketDirectories, []string{run}) || !slices.Equal(c.Connections.PcpSocketDir, []string{run}) ||
		c.Watchdog.WdIpcSocketDir != run || c.Files.PidFileName != run+"/pgpool.pid" || c.Files.WorkDir != "/var/log/postgresql" {
		t.Errorf("Debian: %+v %+v", c.Connections, c.Files)
	}
	if c := other; c.Files.WorkDir != "/tmp" || c.Files.PidFileName != "/var/run/pgpool/pgpool.pid" {
		t.Errorf("elsewhere: %+v", c.Files)
	}
	if c := load("/etc/pgpool2/pgpool.conf", "work_dir = '/x' socket_dir = '/y'\n"); c.Files.WorkDir != "/x" ||
		!slices.Equal(c.Connections.UnixSocketDirectories, []string{"/y"}) {
		t.Errorf("what is set counts: %+v %+v", c.Connections, c.Files)
	}
}
