package main

import (
	"embed"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"gopgpool/internal/pgcluster"
)

//go:embed scripts
var scripts embed.FS

// slotPrefix and the node's number are the name of its replication slot.
const slotPrefix = "pgpool_setup_slot"

// conf are the parameters beyond those the harness sets.
func (s *setup) conf() map[string]string {
	conf := map[string]string{
		"log_per_node_statement": "on",
		"health_check_period":    "10",
		"health_check_timeout":   "20",
	}
	if !s.raw {
		conf["failover_command"] = filepath.Join(s.dir, "etc", "failover.sh") + " %d %h %p %D %m %H %M %P %r %R %N %S"
		conf["recovery_user"] = s.cluster.Account()
		conf["recovery_1st_stage_command"] = "basebackup.sh"
	}
	if s.testHook {
		conf["health_check_test"] = "on"
	}
	return conf
}

// writeScripts writes the programs and notes that the layout promises.
func (s *setup) writeScripts() error {
	s.say("creating startall, shutdownall and pgpool_reload")
	places := map[string][]string{
		"startall": {"startall"}, "shutdownall": {"shutdownall"}, "pgpool_reload": {"pgpool_reload"},
	}
	if !s.raw {
		s.say("creating failover script")
		places["failover.sh"] = []string{"etc/failover.sh"}
	}
	if !s.raw && !s.noServers {
		for i := range s.nodes {
			places["basebackup.sh"] = append(places["basebackup.sh"], fmt.Sprintf("data%d/basebackup.sh", i))
			places["pgpool_remote_start"] = append(places["pgpool_remote_start"], fmt.Sprintf("data%d/pgpool_remote_start", i))
		}
	}
	fill, err := s.replacer()
	if err != nil {
		return err
	}
	for name, targets := range places {
		text, err := scripts.ReadFile("scripts/" + name)
		if err != nil {
			return err
		}
		for _, target := range targets {
			if err := s.cluster.WriteFile(target, fill.Replace(string(text)), 0o755); err != nil {
				return err
			}
		}
	}
	return s.writeNotes()
}

func (s *setup) writeNotes() error {
	account := s.cluster.Account()
	passFile := filepath.Join(s.dir, "pcppass")
	notes := []struct {
		name, text string
		mode       fs.FileMode
	}{
		{"bashrc.ports", fmt.Sprintf("export PGPOOL_PORT=%d\nexport PCP_PORT=%d\nexport PCPPASSFILE=%s\n",
			s.basePort, s.basePort+1, pgcluster.ShellQuote(passFile)), 0o755},
		{"pcppass", fmt.Sprintf("localhost:%d:%s:%s\n", s.basePort+1, account, account), 0o600},
		{"README.port", s.readmePort(), 0o644},
	}
	for _, n := range notes {
		if err := s.cluster.WriteFile(n.name, n.text, n.mode); err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) readmePort() string {
	var b strings.Builder
	for _, n := range s.cluster.Nodes {
		fmt.Fprintf(&b, "#%d port is %d\n", n.ID+1, n.Port)
	}
	fmt.Fprintf(&b, "pgpool port is %d\npcp port is %d\n", s.basePort, s.basePort+1)
	return b.String()
}

// replacer fills in the scripts' @WORDS@.
func (s *setup) replacer() (*strings.Replacer, error) {
	program, err := s.pgpool.Program()
	if err != nil {
		return nil, err
	}
	var nodes []string
	if !s.noServers {
		for i := range s.nodes {
			nodes = append(nodes, fmt.Sprint(i))
		}
	}
	debug := ""
	if s.debug {
		debug = " -d"
	}
	yes := map[bool]string{true: "yes", false: "no"}
	return strings.NewReplacer(
		"@DIR@", pgcluster.ShellQuote(s.dir), "@USER@", s.cluster.Account(), "@PGBIN@", pgcluster.ShellQuote(s.cluster.BinDir),
		"@PGPOOL@", pgcluster.ShellQuote(program), "@NODES@", strings.Join(nodes, " "), "@PORT@", fmt.Sprint(s.basePort),
		"@DEBUG@", debug, "@REWIND@", yes[s.rewind], "@SLOTS@", yes[s.slots], "@SLOT@", slotPrefix,
		"@NODECONF@", pgcluster.NodeConf,
	), nil
}
