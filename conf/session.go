package conf

import (
	"fmt"
	"maps"
	"time"
)

// SessionSettings are the values in force in one session: those of the configuration it began with, and above them what PGPOOL
// SET changed. They end with the session and know no transactions. Not for use by several goroutines.
type SessionSettings struct {
	base    *Config
	current *Config // base, or once something was set a copy of the session's own
	set     map[string]string
}

// NewSessionSettings starts with the values of c.
func NewSessionSettings(c *Config) SessionSettings {
	return SessionSettings{base: c, current: c}
}

// Set carries out PGPOOL SET name TO value. Errors are of type *SettingError and change nothing.
func (s *SessionSettings) Set(name, value string) error {
	p, err := settable(name)
	if err != nil {
		return err
	}
	next := s.copyConfig()
	if _, bad := p.parse(next, noIndex, value); bad != nil {
		return asSettingError(bad)
	}
	s.current = next
	if s.set == nil {
		s.set = make(map[string]string)
	}
	s.set[p.Name] = value
	return nil
}

// Reset carries out PGPOOL RESET name, and PGPOOL SET name TO DEFAULT. Errors are of type *SettingError.
func (s *SessionSettings) Reset(name string) error {
	p, err := settable(name)
	if err != nil {
		return err
	}
	if _, ok := s.set[p.Name]; !ok {
		return nil
	}
	delete(s.set, p.Name)
	s.apply(s.base)
	return nil
}

// ResetAll carries out PGPOOL RESET ALL.
func (s *SessionSettings) ResetAll() {
	s.set = nil
	s.current = s.base
}

// Rebase puts another configuration under the session's own values, as after a reload.
func (s *SessionSettings) Rebase(c *Config) {
	s.base = c
	s.apply(c)
}

// apply puts the values set on top of c.
func (s *SessionSettings) apply(c *Config) {
	s.current = c
	if len(s.set) == 0 {
		return
	}
	next := s.copyConfig()
	for name, value := range maps.All(s.set) {
		if _, bad := params().byName[name].parse(next, noIndex, value); bad != nil {
			panic("conf: value of " + name + " was accepted before: " + bad.text)
		}
	}
	s.current = next
}

// copyConfig is a Config to change: what is settable in a session are plain fields, the rest stays shared.
func (s *SessionSettings) copyConfig() *Config {
	next := *s.current
	return &next
}

func settable(name string) (*Param, error) {
	p, _, bad := resolve(name)
	switch {
	case bad != nil:
		return nil, asSettingError(bad)
	case p == nil:
		return nil, &SettingError{Message: fmt.Sprintf("unrecognized configuration parameter %q", name)}
	case p.Context != Session:
		return nil, &SettingError{Message: fmt.Sprintf("invalid Context, value for parameter %q cannot be changed", name)}
	}
	return p, nil
}

// Config is the configuration as this session sees it, for PGPOOL SHOW.
func (s *SessionSettings) Config() *Config { return s.current }

// LogStatement is log_statement.
func (s *SessionSettings) LogStatement() bool { return s.current.Logging.LogStatement }

// LogPerNodeStatement is log_per_node_statement.
func (s *SessionSettings) LogPerNodeStatement() bool { return s.current.Logging.LogPerNodeStatement }

// NoticePerNodeStatement is notice_per_node_statement.
func (s *SessionSettings) NoticePerNodeStatement() bool {
	return s.current.Logging.NoticePerNodeStatement
}

// LogClientMessages is log_client_messages.
func (s *SessionSettings) LogClientMessages() bool { return s.current.Logging.LogClientMessages }

// LogBackendMessages is log_backend_messages.
func (s *SessionSettings) LogBackendMessages() BackendMessages {
	return s.current.Logging.LogBackendMessages
}

// LogErrorVerbosity is log_error_verbosity.
func (s *SessionSettings) LogErrorVerbosity() ErrorVerbosity {
	return s.current.Logging.LogErrorVerbosity
}

// ClientMinMessages is client_min_messages.
func (s *SessionSettings) ClientMinMessages() Level { return s.current.Logging.ClientMinMessages }

// LogMinMessages is log_min_messages.
func (s *SessionSettings) LogMinMessages() Level { return s.current.Logging.LogMinMessages }

// CheckUnloggedTable is check_unlogged_table.
func (s *SessionSettings) CheckUnloggedTable() bool {
	return s.current.RelationCache.CheckUnloggedTable
}

// AllowSQLComments is allow_sql_comments.
func (s *SessionSettings) AllowSQLComments() bool { return s.current.LoadBalance.AllowSQLComments }

// ClientIdleLimit is client_idle_limit; 0 = off.
func (s *SessionSettings) ClientIdleLimit() time.Duration { return s.current.Pool.ClientIdleLimit }

// ClientIdleLimitInRecovery is client_idle_limit_in_recovery; 0 = off, negative = at once.
func (s *SessionSettings) ClientIdleLimitInRecovery() time.Duration {
	return s.current.Recovery.ClientIdleLimitInRecovery
}
