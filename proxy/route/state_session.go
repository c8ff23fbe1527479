package route

import (
	"slices"
	"strings"

	"gopgpool/proxy/stmt"
)

// setsTransaction reports whether a setting is of the kind that does not count as a write: the isolation level, and
// READ ONLY, of this or of later transactions.
func setsTransaction(f *stmt.Facts) bool {
	set := f.Setting
	if set.Transaction || set.Characteristics {
		return !f.Modes.ReadWrite
	}
	switch set.Name {
	case "transaction_isolation", "default_transaction_isolation":
		return isolationOf(set.Value) == serializable
	case "transaction_read_only", "default_transaction_read_only":
		return !set.Default && isTrue(set.Value)
	}
	return false
}

// isTrue reads a boolean as PostgreSQL does; what is neither true nor false never succeeds.
func isTrue(value string) bool {
	v := strings.ToLower(strings.Trim(value, `'" `))
	if v == "" {
		return false
	}
	return v == "1" || v == "on" || strings.HasPrefix("true", v) || strings.HasPrefix("yes", v)
}

func (s *State) discard(target string) {
	switch target {
	case "all":
		s.defaults = s.seed
		s.temps = nil
	case "temp":
		for i := range s.temps {
			s.temps[i].dropped = true
		}
		if !s.inTx {
			s.endTemps(true)
		}
	}
}

// foldTemps notes created and dropped temporary relations by bare name.
func (s *State) foldTemps(f *stmt.Facts) {
	for i := range f.DropsTables {
		for j := range s.temps {
			if s.temps[j].name == f.DropsTables[i].Name && mayBeTemp(f.DropsTables[i].Schema) {
				s.temps[j].dropped = true
			}
		}
	}
	for i := range f.CreatesTemp {
		s.temps = append(s.temps, tempName{name: f.CreatesTemp[i].Name, created: true})
	}
	if !s.inTx {
		s.endTemps(true)
	}
}

func mayBeTemp(schema string) bool { return schema == "" || strings.HasPrefix(schema, "pg_temp") }

// endTemps makes the transaction's creations and drops final, or undoes them.
func (s *State) endTemps(commit bool) {
	if len(s.temps) == 0 {
		return
	}
	s.temps = slices.DeleteFunc(s.temps, func(t tempName) bool {
		return commit && t.dropped || !commit && t.created
	})
	for i := range s.temps {
		s.temps[i].created, s.temps[i].dropped = false, false
	}
}

// tempIn returns the first relation of f that is a temporary one this session has created.
func (s *State) tempIn(f *stmt.Facts) (stmt.Name, bool) {
	for j := range s.temps {
		for i := range f.Relations {
			if f.Relations[i].Name == s.temps[j].name {
				return f.Relations[i], true
			}
		}
	}
	return stmt.Name{}, false
}
