package route

import (
	"slices"
	"strings"

	"gopgpool/proxy/stmt"
)

// isolation is an isolation level as far as it matters here: READ UNCOMMITTED is READ COMMITTED.
type isolation uint8

const (
	readCommitted isolation = iota
	repeatableRead
	serializable
)

const isolationSerializable = "serializable"

func isolationOf(value string) isolation {
	switch v := strings.Trim(value, `'" `); {
	case strings.EqualFold(v, isolationSerializable):
		return serializable
	case strings.EqualFold(v, "repeatable read"):
		return repeatableRead
	}
	return readCommitted
}

// modes are those of a transaction, or the defaults for the next.
type modes struct {
	isolation isolation
	readOnly  bool
}

// with is the modes after a clause of BEGIN or SET.
func (m modes) with(t stmt.TxModes) modes {
	if t.Isolation != "" {
		m.isolation = isolationOf(t.Isolation)
	}
	if t.ReadOnly || t.ReadWrite {
		m.readOnly = t.ReadOnly
	}
	return m
}

// SetDefaults seeds what the session has from its startup packet, role or database: default_transaction_isolation and
// default_transaction_read_only. Call it before the first statement.
func (s *State) SetDefaults(isolation string, readOnly bool) {
	s.seed = modes{isolationOf(isolation), readOnly}
	s.defaults = s.seed
}

// set folds a SET, RESET or set_config() of the isolation level or of READ ONLY.
func (s *State) set(f *stmt.Facts) {
	set := f.Setting
	switch {
	case set.All:
		s.defaults = s.seed
	case set.Characteristics:
		s.defaults = s.defaults.with(f.Modes)
	case set.Transaction:
		if s.inTx {
			s.modes = s.modes.with(f.Modes)
		}
	case strings.HasPrefix(set.Name, "transaction_"):
		if s.inTx {
			s.modes = s.modes.setting(set.Name, set, modes{s.modes.isolation, false})
		}
	case strings.HasPrefix(set.Name, "default_transaction_") && !set.Local:
		s.defaults = s.defaults.setting(strings.TrimPrefix(set.Name, "default_"), set, s.seed)
	}
}

// setting is the modes after a setting of that name; reset is what TO DEFAULT gives.
func (m modes) setting(name string, set *stmt.Setting, reset modes) modes {
	next := reset
	if !set.Default {
		next = modes{isolationOf(set.Value), isTrue(set.Value)}
	}
	switch name {
	case "transaction_isolation":
		m.isolation = next.isolation
	case "transaction_read_only":
		m.readOnly = next.readOnly
	}
	return m
}

// maxSavepoints bounds the savepoints that are remembered. What is not remembered ends READ ONLY when it is rolled back to, which only
// costs reads on a standby.
const maxSavepoints = 100

// savepoint folds SAVEPOINT and RELEASE of a transaction that is read-only, but not since it began. A name that is used twice is
// released with both.
func (s *State) savepoint(f *stmt.Facts) {
	if at := slices.Index(s.readOnlyAt, f.Name); f.Kind == stmt.KindRelease && at >= 0 {
		s.readOnlyAt = s.readOnlyAt[:at]
	} else if f.Kind == stmt.KindSavepoint && s.modes.readOnly && !s.begunReadOnly && at < 0 && len(s.readOnlyAt) < maxSavepoints {
		s.readOnlyAt = append(s.readOnlyAt, f.Name)
	}
}
