package main

import (
	"fmt"

	"gopgpool/conf"
	"gopgpool/failover"
	"gopgpool/logging"
)

// reload reads the files again (SIGHUP, pgpool reload). A file with an error is refused as a whole: what was in force stays.
func (p *parts) reload() {
	p.log.Log(logging.Event{Severity: logging.Log, Message: "reload config files."})
	old := p.live.Current()
	cfg, changes, problems := old.Reload(p.opts.ConfigFile)
	if !conf.Refused(problems) {
		problems = append(problems, cfg.NotBuilt()...)
	}
	p.tellReload(problems)
	if conf.Refused(problems) {
		p.log.Log(logging.Event{
			Severity: logging.Warning, Message: "configuration file contains errors, nothing was changed",
			Detail: p.opts.ConfigFile,
		})
		return
	}
	p.live.Publish(cfg)
	if err := p.tls.load(cfg, p.store.Current()); err != nil {
		p.log.Log(logging.Event{Severity: logging.Warning, Message: "could not read the certificates again, the old ones stay in force", Detail: err.Error()})
	}
	p.hosts.forget()
	p.reloadAuth(old, cfg)
	if err := p.out.Configure(logConfig(&cfg.Logging, p.opts.Debug)); err != nil {
		p.log.Log(logging.Event{Severity: logging.Warning, Message: "could not reconfigure logging", Detail: err.Error()})
	}
	p.proxy.Configure(cfg)
	if !old.BackendTLS.Equal(&cfg.BackendTLS) {
		p.renewServerConnections()
	}
	p.coord.Report(failover.BackendsReloaded{Backends: cfg.Backends})
	p.sr.Wake()
	p.check.Wake()
	p.guard.Wake()
	if p.watchdog != nil {
		p.watchdog.Reload()
	}
	for _, c := range changes {
		p.log.Log(logging.Event{Severity: logging.Log, Message: changeText(c)})
	}
}

// renewServerConnections has the servers spoken to as the parameters say now, as soon as nothing holds a connection that was opened
// before. (The check of replication and auth_query replace theirs by themselves.)
func (p *parts) renewServerConnections() {
	if err := p.proxy.Reconnect(""); err != nil {
		p.log.Log(logging.Event{Severity: logging.Warning, Message: "could not replace the connections to the servers", Detail: err.Error()})
	}
}

func (p *parts) tellReload(problems []conf.Problem) {
	for _, pr := range problems {
		p.log.Log(problemEvent(logging.Warning, pr))
	}
}

// changeText tells of one changed parameter. Secrets are not shown.
func changeText(c conf.Change) string {
	if c.NeedsRestart {
		return fmt.Sprintf("parameter %q cannot be changed without restarting the server", c.Name)
	}
	return fmt.Sprintf("parameter %q changed from %q to %q", c.Name, c.Old, c.New)
}

// reloadAuth reads pool_passwd, pool_hba.conf and pool_ident.conf again; a broken file leaves the old rules in force.
func (p *parts) reloadAuth(old, cfg *conf.Config) {
	if p.passwords != nil {
		notices, err := p.passwords.Reload()
		p.notices(notices)
		if err != nil {
			p.log.Log(logging.Event{Severity: logging.Warning, Message: "could not read pool_passwd, the old entries stay", Detail: err.Error()})
		}
	}
	if !cfg.Auth.EnablePoolHba {
		return
	}
	rules, err := p.readRules(cfg)
	if err != nil {
		what := "the old rules stay in force"
		if !old.Auth.EnablePoolHba {
			what = "nobody is let in: there are no old rules"
		}
		p.log.Log(logging.Event{Severity: logging.Warning, Message: "pool_hba.conf or pool_ident.conf contains errors, " + what})
		return
	}
	p.proxy.SetRules(rules)
}
