package show

import (
	"strconv"
	"strings"

	"gopgpool/auth"
)

// PoolHBA answers SHOW pool_hba, an addition of ours: the records of pool_hba.conf in force, in the columns of PostgreSQL's
// pg_hba_file_rules. No password is among the options. error is empty: a file with an error is not in force.
func PoolHBA(rules *auth.Rules) Result {
	var rows [][]string
	for i, r := range rules.List() {
		var options []string
		for _, o := range r.Options() {
			options = append(options, o.Name+"="+o.Value)
		}
		rows = append(rows, []string{
			strconv.Itoa(i + 1), r.File, strconv.Itoa(r.Line), r.Type.String(), array(words(r.Databases)), array(words(r.Users)),
			r.Address(), r.Netmask(), r.Method.String(), array(options), "",
		})
	}
	return table([]string{
		"rule_number", "file_name", "line_number", "type", "database", "user_name", "address", "netmask", "auth_method", "options",
		"error",
	}, rows)
}

// PoolIdent answers SHOW pool_ident, an addition of ours: the records of pool_ident.conf in force, in the columns of
// PostgreSQL's pg_ident_file_mappings.
func PoolIdent(idents *auth.Idents) Result {
	var rows [][]string
	for i, r := range idents.List() {
		rows = append(rows, []string{
			strconv.Itoa(i + 1), r.File, strconv.Itoa(r.Line), r.Map, r.System.Text, r.Role.String(), "",
		})
	}
	return table([]string{"map_number", "file_name", "line_number", "map_name", "sys_name", "pg_username", "error"}, rows)
}

// words shows a keyword in quotes, which is none, apart from one without.
func words(list []auth.Token) []string {
	texts := make([]string, len(list))
	for i, t := range list {
		if texts[i] = t.Text; t.Literal() {
			texts[i] = t.String()
		}
	}
	return texts
}

// array writes a list as PostgreSQL writes text[].
func array(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if s != "" && !strings.EqualFold(s, "null") && !strings.ContainsAny(s, "{},\"\\ \t\n\v\f\r") {
			b.WriteString(s)
			continue
		}
		b.WriteByte('"')
		b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}
