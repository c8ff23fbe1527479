package route

import "gopgpool/proxy/stmt"

// Rerunnable reports whether the text of a statement is that of one which may be run a second time when nobody knows whether it was run a
// first: it reads, locks nothing, and changes nothing of its session. [Innocent] tells the rest.
func Rerunnable(f *stmt.Facts) bool {
	if f == nil || f.Multi || f.Setting != nil || f.Signal != nil || len(f.Executes) > 0 || len(f.CreatesTemp) > 0 {
		return false
	}
	switch f.Kind {
	case stmt.KindShow:
		return true
	case stmt.KindSelect:
		return f.ReadOnly && f.Class == stmt.ClassEither && !assignsXID(f)
	}
	return false
}

// Innocent reports whether what the catalogue says of the names in a Rerunnable statement leaves it one: it calls no function that may do
// more than answer, not by a view either. What is not known is taken for the worst.
func Innocent(f *stmt.Facts, n *Names) bool {
	if len(f.Relations)+len(f.Functions) == 0 {
		return true
	}
	return !n.Unknown && n.Volatile == 0 && n.Calls == 0
}
