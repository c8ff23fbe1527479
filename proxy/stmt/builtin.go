package stmt

import (
	"slices"
	"strings"
)

const catalogSchema = "pg_catalog"

// MayTouchSession tells whether a call may leave something in its session: a function PostgreSQL does not bring itself,
// of which nothing is known, or one of its own that does. A function of the user's that has the name of a built-in one
// and is found before it on the search path is not noticed.
func MayTouchSession(f Name) bool {
	switch f.Schema {
	case "", catalogSchema:
		return !isBuiltin(f.Name) || builtinTouches(f.Name)
	case "information_schema":
		return false
	}
	return true
}

// isBuiltin tells whether PostgreSQL itself has a function of that name.
func isBuiltin(name string) bool {
	_, ok := slices.BinarySearch(builtinFunctions[:], name)
	return ok
}

// builtinTouches tells the built-in functions that change state of the session they run in, or run SQL given as text.
func builtinTouches(name string) bool {
	switch name {
	case nameSetConfig, "setseed",
		"pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared",
		"pg_advisory_unlock", "pg_advisory_unlock_shared", "pg_advisory_unlock_all",
		"loread", "lowrite",
		"pg_replication_origin_session_setup", "pg_replication_origin_session_reset",
		"pg_replication_origin_xact_setup", "pg_replication_origin_xact_reset",
		"pg_create_logical_replication_slot", "pg_create_physical_replication_slot",
		"pg_copy_logical_replication_slot", "pg_copy_physical_replication_slot",
		"pg_backup_start", "pg_backup_stop", "pg_start_backup", "pg_stop_backup",
		"query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema",
		"ts_stat", "ts_rewrite":
		return true
	}
	return strings.HasPrefix(name, "lo_") || strings.HasPrefix(name, "binary_upgrade_")
}
