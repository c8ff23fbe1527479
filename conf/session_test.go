package conf

import (
	"testing"
	"time"
)

func TestSettableParameters(t *testing.T) {
	n := 0
	for _, p := range Params() {
		s := NewSessionSettings(Default())
		err := s.Set(p.Name, otherValue(&p))
		if (err == nil) != (p.Context == Session) {
			t.Errorf("SET %s: %v", p.Name, err)
		}
		if p.Context == Session {
			n++
		}
	}
	const settable = 12
	if n != settable {
		t.Errorf("%d parameters can be set, want %d", n, settable)
	}
}

func TestSessionSettings(t *testing.T) {
	base := mustLoad(t, "client_idle_limit = 60")
	s, other := NewSessionSettings(base), NewSessionSettings(base)
	for name, value := range map[string]string{
		"log_statement": "on", "log_per_node_statement": "on", "notice_per_node_statement": "on", "log_client_messages": "on",
		"log_backend_messages": "terse", "log_error_verbosity": "verbose", "client_min_messages": "error", "log_min_messages": "log",
		"check_unlogged_table": "off", "allow_sql_comments": "on", "client_idle_limit": "2min", "client_idle_limit_in_recovery": "-1",
	} {
		if err := s.Set(name, value); err != nil {
			t.Errorf("SET %s: %v", name, err)
		}
	}
	if !s.LogStatement() || !s.LogPerNodeStatement() || !s.NoticePerNodeStatement() || !s.LogClientMessages() ||
		s.LogBackendMessages() != BackendMessagesTerse || s.LogErrorVerbosity() != VerbosityVerbose ||
		s.ClientMinMessages() != LevelError || s.LogMinMessages() != LevelLog || s.CheckUnloggedTable() || !s.AllowSQLComments() ||
		s.ClientIdleLimit() != 2*time.Minute || s.ClientIdleLimitInRecovery() != -time.Second {
		t.Error("a value is not in force")
	}
	if other.LogStatement() || base.Logging.LogStatement || other.ClientIdleLimit() != time.Minute {
		t.Error("another session sees them")
	}
	if shown, err := s.Config().Show("client_idle_limit"); err != nil || shown.Items[0].Value != "2min" {
		t.Errorf("SHOW: %v", shown)
	}
	if err := s.Reset("client_idle_limit"); err != nil || s.ClientIdleLimit() != time.Minute || !s.LogStatement() {
		t.Error("RESET of one")
	}
	s.Rebase(mustLoad(t, "client_idle_limit = 5 log_statement = off"))
	if s.ClientIdleLimit() != 5*time.Second || !s.LogStatement() {
		t.Error("Rebase keeps what was set and changes the rest")
	}
	s.ResetAll()
	if s.LogStatement() || s.LogMinMessages() != LevelWarning {
		t.Error("RESET ALL")
	}
	if err := s.Reset("log_statement"); err != nil {
		t.Errorf("RESET of what was not set: %v", err)
	}
}

func TestSessionErrors(t *testing.T) {
	s := NewSessionSettings(Default())
	for _, tt := range []struct {
		name, value string
		want        SettingError
	}{
		{"foo", "1", SettingError{Message: `unrecognized configuration parameter "foo"`}},
		{"port", "1", SettingError{Message: `invalid Context, value for parameter "port" cannot be changed`}},
		{"backend_port0", "1", SettingError{Message: `invalid Context, value for parameter "backend_port0" cannot be changed`}},
		{"client_idle_limit", "abc", SettingError{Message: `invalid value for parameter "client_idle_limit": "abc"`}},
		{"client_idle_limit", "5 weeks", SettingError{Message: `invalid value for parameter "client_idle_limit": "5 weeks"`, Hint: timeHint}},
		{"client_idle_limit", "-1", SettingError{Message: `-1 is outside the valid range for parameter "client_idle_limit" (0 .. 2147483647)`}},
		{"log_backend_messages", "x", SettingError{Message: `invalid value for parameter "log_backend_messages": "x"`, Hint: "Available values: none, terse, verbose."}},
		{"hostname_foo", "x", SettingError{Message: `invalid index value for parameter "hostname_foo" `, Detail: "index part contains the invalid non digit character"}},
	} {
		wantSettingError(t, tt.name, s.Set(tt.name, tt.value), tt.want)
	}
	wantSettingError(t, "reset", s.Reset("foo"), SettingError{Message: `unrecognized configuration parameter "foo"`})
	if s.current != s.base {
		t.Error("an error changed something")
	}
}
