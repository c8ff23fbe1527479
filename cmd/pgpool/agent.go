package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"gopgpool/agent"
	"gopgpool/conf"
	"gopgpool/logging"
)

// agentPidFile stands beside pgpool's pid file: both may run on one host.
const agentPidFile = "pgpool_agent.pid"

// pidFile is the pid file of what runs.
func (o *Options) pidFile(cfg *conf.Config) string {
	if o.Command == CommandAgent {
		return filepath.Join(filepath.Dir(cfg.Files.PidFileName), agentPidFile)
	}
	return cfg.Files.PidFileName
}

// agentDaemon is "pgpool agent".
type agentDaemon struct {
	opts Options
	out  *logging.Output
	log  logging.Logger
	live *conf.Live

	local       *agent.Local
	credentials atomic.Pointer[agent.Credentials]
}

var errNoAgentDirectory = errors.New("agent_data_directory is not set")

// buildAgent makes the daemon of "pgpool agent".
func buildAgent(o Options, cfg *conf.Config, out *logging.Output) (*daemon, error) {
	origin := &logging.Origin{App: "agent", ProcessName: "agent", PID: os.Getpid()}
	a := &agentDaemon{opts: o, out: out, log: out.Logger().With(origin), live: conf.NewLive(cfg)}
	if cfg.Agent.DataDirectory == "" {
		return nil, errNoAgentDirectory
	}
	if err := a.loadCredentials(cfg); err != nil {
		return nil, err
	}
	if err := agent.Here(cfg.Agent.DataDirectory, 0); err != nil {
		return nil, fmt.Errorf("agent_data_directory: %w", err)
	}
	listeners, err := agentListeners(&cfg.Agent)
	if err != nil {
		return nil, err
	}
	a.local = &agent.Local{
		DataDirectory: cfg.Agent.DataDirectory, BinDirectory: cfg.Agent.BinDirectory, StateFile: cfg.Agent.StateFile, Log: a.log,
	}
	a.log.Log(logging.Event{
		Severity: logging.Log, Message: "agent of " + cfg.Agent.DataDirectory + " listens on " + addresses(listeners), Detail: fencingText(a.fencing()),
	})
	guard := agent.NewGuard(a.local, a.fencing, a.log)
	server := &agent.Server{Host: a.local, Guard: guard, Credentials: a.credentials.Load, Log: a.log}
	return &daemon{
		log: a.log,
		parts: []part{
			{"agent", func(ctx context.Context) error { return server.Serve(ctx, listeners) }},
			{"fencing", guard.Run},
		},
		reload: a.reload,
		rotate: a.rotate,
	}, nil
}

func (a *agentDaemon) fencing() agent.Fencing {
	c := &a.live.Current().Agent
	return agent.Fencing{On: c.Fencing, Lease: c.LeaseTime}
}

func addresses(listeners []net.Listener) string {
	text := make([]string, len(listeners))
	for i, l := range listeners {
		text[i] = l.Addr().String()
	}
	return strings.Join(text, ", ")
}

func fencingText(f agent.Fencing) string {
	if !f.On {
		return "agent_fencing is off: it stops nothing by itself."
	}
	return fmt.Sprintf("agent_fencing is on: it stops a primary when no pgpool was in contact for %v.", f.Lease)
}

// loadCredentials reads the key; -k names another file than agent_key_file.
func (a *agentDaemon) loadCredentials(cfg *conf.Config) error {
	c := cfg.Agent
	if a.opts.KeyFile != "" {
		c.KeyFile = a.opts.KeyFile
	}
	credentials, err := agent.LoadCredentials(&c)
	if err != nil {
		return err
	}
	old := a.credentials.Load()
	if old != nil && old.Same(&credentials) {
		return nil // connections go on
	}
	a.credentials.Store(&credentials)
	if old != nil {
		a.log.Log(logging.Event{Severity: logging.Log, Message: "the agent has another key, connections let in by the former one end"})
	}
	return nil
}

// agentListeners opens agent_listen_addresses; unlike clients' addresses each one must work, since nobody would notice.
func agentListeners(c *conf.Agent) (list []net.Listener, err error) {
	for _, host := range c.ListenAddresses {
		if host == "*" {
			host = ""
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(c.Port)))
		if err != nil {
			for _, open := range list {
				err = errors.Join(err, open.Close())
			}
			return nil, err
		}
		list = append(list, l)
	}
	if len(list) == 0 {
		return nil, errors.New("agent_listen_addresses is empty")
	}
	return list, nil
}

// reload reads pgpool.conf and the key again.
func (a *agentDaemon) reload() {
	a.log.Log(logging.Event{Severity: logging.Log, Message: "reload config files."})
	cfg, changes, problems := a.live.Current().Reload(a.opts.ConfigFile)
	for _, one := range problems {
		a.log.Log(problemEvent(logging.Warning, one))
	}
	if conf.Refused(problems) {
		a.log.Log(logging.Event{
			Severity: logging.Warning, Message: "configuration file contains errors, nothing was changed", Detail: a.opts.ConfigFile,
		})
		return
	}
	a.live.Publish(cfg)
	a.local.UseBinDirectory(cfg.Agent.BinDirectory)
	if err := a.loadCredentials(cfg); err != nil {
		a.log.Log(logging.Event{Severity: logging.Warning, Message: "could not read the key again, the old one stays in force", Detail: err.Error()})
	}
	if err := a.out.Configure(logConfig(&cfg.Logging, a.opts.Debug)); err != nil {
		a.log.Log(logging.Event{Severity: logging.Warning, Message: "could not reconfigure logging", Detail: err.Error()})
	}
	for _, c := range changes {
		a.log.Log(logging.Event{Severity: logging.Log, Message: changeText(c)})
	}
}

func (a *agentDaemon) rotate() {
	if err := a.out.Rotate(); err != nil {
		a.log.Log(logging.Event{Severity: logging.Warning, Message: "could not rotate the log file", Detail: err.Error()})
	}
}
