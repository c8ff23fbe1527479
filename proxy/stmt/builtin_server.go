package stmt

import (
	"slices"
	"strings"
)

// tellsOfServer tells the functions of PostgreSQL's own whose answer is only right where writes go although they are not volatile:
// they look into the catalogs, where a session's temporary objects are on one server alone, tell of the server or of the
// transaction they run in, or are refused during recovery.
func tellsOfServer(f Name) bool {
	if f.Schema != "" && f.Schema != catalogSchema {
		return false
	}
	name := f.Name
	switch name {
	case "txid_current", "txid_current_if_assigned", "txid_current_snapshot",
		"pg_current_xact_id", "pg_current_xact_id_if_assigned", "pg_current_snapshot",
		"current_schema", "current_schemas", "format_type", "row_security_active", "pg_has_role",
		"col_description", "obj_description", "shobj_description", "pg_describe_object", "pg_filenode_relation",
		"pg_my_temp_schema", "pg_is_other_temp_schema", "pg_listening_channels", "pg_cursor", "pg_prepared_statement",
		"pg_partition_root", "pg_partition_tree", "pg_partition_ancestors", "pg_column_is_updatable", "pg_sequence_parameters",
		"pg_replication_origin_oid", "pg_tablespace_databases", "pg_tablespace_location":
		return true
	}
	return strings.HasPrefix(name, "pg_get_") || strings.HasPrefix(name, "pg_stat_") ||
		strings.HasPrefix(name, "pg_relation_") || strings.HasPrefix(name, "pg_index") ||
		strings.HasPrefix(name, "pg_identify_object") || strings.HasPrefix(name, "to_reg") ||
		strings.HasPrefix(name, "has_") && strings.HasSuffix(name, "_privilege") ||
		strings.HasPrefix(name, "pg_") && strings.HasSuffix(name, "_is_visible") ||
		strings.Contains(name, "_to_xml")
}

// namesObject tells the types whose input is the name of something that may be temporary.
func namesObject(t Name) bool {
	if t.Schema != "" && t.Schema != catalogSchema {
		return false
	}
	switch t.Name {
	case "regclass", "regtype", "regproc", "regprocedure", "regoper", "regoperator":
		return true
	}
	return false
}

// isOwnType tells types that PostgreSQL does not bring itself. Every table is one.
func isOwnType(t Name) bool {
	if t.Schema != "" {
		return t.Schema != catalogSchema
	}
	_, found := slices.BinarySearch(builtinTypes[:], t.Name)
	return !found
}

// builtinTypes are PostgreSQL's types as their names are written without a schema, in byte order.
var builtinTypes = [...]string{
	"aclitem", "any", "anyarray", "anycompatible", "anycompatiblearray", "anycompatiblemultirange", "anycompatiblenonarray",
	"anycompatiblerange", "anyelement", "anyenum", "anymultirange", "anynonarray", "anyrange", "bit", "bool", "box", "bpchar", "bytea",
	"char", "cid", "cidr", "circle", "cstring", "date", "datemultirange", "daterange", "event_trigger", "fdw_handler", "float4", "float8",
	"gtsvector", "index_am_handler", "inet", "int2", "int2vector", "int4", "int4multirange", "int4range", "int8", "int8multirange",
	"int8range", "internal", "interval", "json", "jsonb", "jsonpath", "language_handler", "line", "lseg", "macaddr", "macaddr8", "money",
	"name", "numeric", "nummultirange", "numrange", "oid", "oidvector", "path", "pg_brin_bloom_summary",
	"pg_brin_minmax_multi_summary", "pg_ddl_command", "pg_dependencies", "pg_lsn", "pg_mcv_list", "pg_ndistinct", "pg_node_tree",
	"pg_snapshot", "point", "polygon", "record", "refcursor", "regclass", "regcollation", "regconfig", "regdictionary",
	"regnamespace", "regoper", "regoperator", "regproc", "regprocedure", "regrole", "regtype", "table_am_handler", "text", "tid", "time",
	"timestamp", "timestamptz", "timetz", "trigger", "tsm_handler", "tsmultirange", "tsquery", "tsrange", "tstzmultirange", "tstzrange",
	"tsvector", "txid_snapshot", "unknown", "uuid", "varbit", "varchar", "void", "xid", "xid8", "xml",
}
