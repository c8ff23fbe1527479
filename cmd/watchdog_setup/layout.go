package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gopgpool/internal/pgcluster"
)

//go:embed scripts
var scripts embed.FS

// conf are the watchdog's parameters of a pgpool, for the end of its pgpool.conf.
func (s *setup) conf(id int) string {
	var b strings.Builder
	set := func(name string, value any) { fmt.Fprintf(&b, "%s = '%v'\n", name, value) }
	b.WriteString("\n# watchdog\n")
	set("use_watchdog", "on")
	set("wd_interval", 1)
	set("wd_priority", s.pgpools-id)
	set("wd_authkey", s.key)
	set("wd_ipc_socket_dir", s.socketDir)
	set("wd_state_directory", filepath.Join(s.place(id), "watchdog"))
	set("wd_state_on_tmpfs", "on")
	if s.vip != "" {
		set("delegate_ip", s.vip)
		set("delegate_device", s.device)
	}
	for n := range s.pgpools {
		set(fmt.Sprintf("hostname%d", n), "localhost")
		set(fmt.Sprintf("pgpool_port%d", n), s.port(n))
		set(fmt.Sprintf("wd_port%d", n), s.port(n)+2)
		set(fmt.Sprintf("heartbeat_hostname%d", n), "localhost")
		set(fmt.Sprintf("heartbeat_port%d", n), s.port(n)+3)
	}
	if id > 0 { // what the first pgpool says of the servers
		for n := range s.servers {
			set(fmt.Sprintf("backend_data_directory%d", n), filepath.Join(s.place(0), fmt.Sprintf("data%d", n)))
		}
	}
	return b.String()
}

// addWatchdog makes one pgpool of the group from a pgpool of its own.
func (s *setup) addWatchdog(id int) error {
	etc := filepath.Join(s.place(id), "etc")
	conf, err := os.OpenFile(filepath.Join(etc, "pgpool.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(s.conf(id))
	if err := errors.Join(err, conf.Close()); err != nil {
		return err
	}
	node, state := filepath.Join(etc, "pgpool_node_id"), filepath.Join(s.place(id), "watchdog")
	if err := os.WriteFile(node, fmt.Appendln(nil, id), 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	return errors.Join(likeIts(etc, node), likeIts(etc, state))
}

// mkdir makes a directory whose owner is that of the current one, which is who the servers run as if they are to write into it.
func (s *setup) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return likeIts(s.dir, dir)
}

// likeIts gives path to whom model belongs.
func likeIts(model, path string) error {
	info, err := os.Stat(model)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return nil
	}
	return os.Lchown(path, int(owner.Uid), int(owner.Gid))
}

// writeScripts writes startall, shutdownall and README.port.
func (s *setup) writeScripts() error {
	var ports, ids []string
	var readme strings.Builder
	for i := range s.servers {
		ports = append(ports, fmt.Sprint(s.pgBasePort+i))
		fmt.Fprintf(&readme, "#%d port is %d\n", i+1, s.pgBasePort+i)
	}
	for id := range s.pgpools {
		if id > 0 {
			ids = append(ids, fmt.Sprint(id))
		}
		p := s.port(id)
		fmt.Fprintf(&readme, "pgpool%d port is %d, pcp %d, watchdog %d, heartbeat %d\n", id, p, p+1, p+2, p+3)
	}
	fill := strings.NewReplacer("@DIR@", pgcluster.ShellQuote(s.dir), "@PGBIN@", pgcluster.ShellQuote(s.binDir),
		"@PORTS@", strings.Join(ports, " "), "@OTHERS@", strings.Join(ids, " "))
	for _, name := range []string{"startall", "shutdownall"} {
		text, err := scripts.ReadFile("scripts/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(fill.Replace(string(text))), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(s.dir, "README.port"), []byte(readme.String()), 0o644)
}
