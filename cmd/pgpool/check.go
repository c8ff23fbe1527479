package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gopgpool/agent"
	"gopgpool/auth"
	"gopgpool/conf"
	"gopgpool/tlsconf"
	"gopgpool/watchdog/disk"
)

// test checks the files and prints a report on standard output; the exit code says whether the daemon would start.
func (p *program) test(o Options) int {
	cfg, problems := p.load(o.ConfigFile)
	if cfg != nil {
		problems = append(problems, cfg.NotBuilt()...)
	}
	if err := cfg.Report(p.stdout, problems); err != nil {
		return exitFatal
	}
	c := checker{w: p.stdout, refused: conf.Refused(problems)}
	if cfg != nil {
		c.hba(o.HbaFile, cfg)
		c.certificates(cfg)
		c.passwords(o, &cfg.Auth)
		c.readable("pcp.conf", o.PcpFile)
		c.agents(cfg)
		c.state(&cfg.Watchdog)
		c.pidDirectory(cfg.Files.PidFileName)
	}
	if c.refused {
		c.printf("pgpool would not start\n")
		return exitFatal
	}
	c.printf("pgpool would start\n")
	return exitOK
}

// checker reports on the files beside pgpool.conf, one line for each and one for each thing that is wrong.
type checker struct {
	w       io.Writer
	refused bool
}

func (c *checker) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(c.w, format, args...) // nobody is left to be told
}

// fail prints something that keeps the daemon from starting.
func (c *checker) fail(err error) {
	c.refused = true
	c.printf("ERROR: %v\n", err)
}

// hba prints the records as they were understood.
func (c *checker) hba(path string, cfg *conf.Config) {
	if !cfg.Auth.EnablePoolHba {
		c.printf("%s: not used, enable_pool_hba is off\n", path)
		return
	}
	rules, errs := loadHBA(path, cfg.Auth.IdentFile)
	for _, err := range errs {
		c.fail(err)
	}
	if len(errs) > 0 {
		return
	}
	c.notices(rules.Notices(cfg.SSL.SSL, checksCertificates(cfg)))
	c.printf("%s: ok\n", path)
	for _, r := range rules.List() {
		c.printf("  %s:%d: %s\n", r.File, r.Line, r)
	}
	if rules.Idents() == nil {
		return
	}
	c.printf("%s: ok\n", cfg.Auth.IdentFile)
	for _, r := range rules.Idents().List() {
		c.printf("  %s:%d: %s\n", r.File, r.Line, r)
	}
}

func (c *checker) passwords(o Options, a *conf.Auth) {
	key, warning, err := loadKey(o, a)
	if warning != nil {
		c.printf("WARNING: %v\n", warning)
	}
	if err != nil {
		c.fail(err)
		return
	}
	if a.PoolPasswd == "" {
		c.printf("pool_passwd: not used\n")
		return
	}
	_, notices, err := auth.LoadPasswords(a.PoolPasswd, key)
	c.notices(notices)
	if err != nil {
		c.printf("WARNING: %v\n", err)
		return
	}
	c.printf("%s: ok\n", a.PoolPasswd)
}

// agents checks what pgpool and its agents know each other by, and in an agent's file the server it is to look after. pgpool starts without,
// and can then do nothing on other hosts.
func (c *checker) agents(cfg *conf.Config) {
	named := slices.ContainsFunc(cfg.Backends, func(b conf.Backend) bool { return b.Exists() && b.Agent != "" })
	data := cfg.Agent.DataDirectory
	if !named && data == "" {
		return
	}
	if _, err := agent.LoadCredentials(&cfg.Agent); err != nil {
		c.printf("WARNING: agents: %v\n", err)
	} else {
		c.printf("agents: key or certificates ok\n")
	}
	if data == "" {
		return
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err != nil {
		c.printf("WARNING: agent_data_directory: no data directory of PostgreSQL: %v\n", err)
		return
	}
	c.printf("%s: ok\n", data)
}

// state checks the directory of the watchdog's memory. Whoever runs this may be another user than the daemon, so it is a warning.
func (c *checker) state(w *conf.Watchdog) {
	if !w.UseWatchdog {
		return
	}
	if err := disk.Check(w.StateDirectory(), w.WdStateOnTmpfs); err != nil {
		c.printf("WARNING: wd_state_directory %q: %v\n", w.StateDirectory(), err)
		return
	}
	c.printf("%s: ok\n", w.StateDirectory())
}

func (c *checker) notices(list []auth.Notice) {
	for _, n := range list {
		c.printf("WARNING: %s\n", n)
	}
}

// readable checks a file the daemon can do without.
func (c *checker) readable(name, path string) {
	f, err := os.Open(path)
	if err != nil {
		c.printf("WARNING: %s: %v\n", name, err)
		return
	}
	_ = f.Close()
	c.printf("%s: ok\n", path)
}

func (c *checker) pidDirectory(pidFile string) {
	dir := filepath.Dir(pidFile)
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: fs.ErrInvalid}
	}
	if err != nil {
		c.fail(fmt.Errorf("could not open pid file %q: %w", pidFile, err))
	}
}

// certificates reads them as a start would; that runs ssl_passphrase_command.
func (c *checker) certificates(cfg *conf.Config) {
	_, warnings, err := tlsconf.ForClients(&cfg.SSL)
	for i := range cfg.Backends {
		if b := &cfg.Backends[i]; err == nil && b.Exists() {
			var more []string
			_, more, err = tlsconf.ForServer(&cfg.SSL, cfg.BackendTLS.For(i), b.Hostname)
			warnings = append(warnings, more...)
		}
	}
	slices.Sort(warnings)
	for _, line := range slices.Compact(warnings) {
		c.printf("WARNING: %s\n", line)
	}
	if err != nil {
		c.fail(err)
	}
}
