package auth

import (
	"regexp"
	"slices"
	"strings"
)

// Idents are the records of a pool_ident.conf without errors, in file order; they never change. The nil value has none.
type Idents struct{ list []Ident }

// Ident is one record: who comes by a name that matches System may be a role that Role matches, where a record of
// pool_hba.conf says map=Map.
type Ident struct {
	File string
	Line int

	Map          string
	System, Role Token
}

// ParseIdent reads a pool_ident.conf, which has the form of PostgreSQL's pg_ident.conf. As with [ParseHBA] there are no
// records where there is an error; no records at all are none.
func ParseIdent(name string, data []byte, files Files) (*Idents, []error) {
	reader := hbaReader{files: files}
	idents := &Idents{}
	reader.records([]string{name}, data, func(line hbaLine) {
		record, problem := parseIdent(line)
		if problem != "" {
			reader.fail(line.file, line.number, problem)
			return
		}
		idents.list = append(idents.list, record)
	})
	if len(reader.errs) > 0 {
		return nil, reader.errs
	}
	return idents, nil
}

// parseIdent gives what is wrong, or "".
func parseIdent(line hbaLine) (record Ident, problem string) {
	if len(line.fields) < 3 {
		return record, "missing entry at end of line"
	}
	if len(line.fields) > 3 {
		return record, "more than three fields in line"
	}
	for _, field := range line.fields {
		if len(field) != 1 {
			return record, "multiple values in ident field"
		}
	}
	record = Ident{
		File: line.file, Line: line.number,
		Map: line.fields[0][0].Text, System: line.fields[1][0], Role: line.fields[2][0],
	}
	for _, t := range []*Token{&record.System, &record.Role} {
		if problem := t.compile(); problem != "" {
			return record, problem
		}
	}
	if record.refersBack() && record.System.regex.NumSubexp() == 0 {
		return record, `regular expression "` + record.System.Text[1:] +
			`" has no subexpressions as requested by backreference in "` + record.Role.Text + `"`
	}
	return record, ""
}

const backReference = `\1`

// refersBack reports whether the role is made from a part of the name.
func (r *Ident) refersBack() bool {
	return r.System.regex != nil && r.Role.regex == nil && !r.Role.group() && strings.Contains(r.Role.Text, backReference)
}

// Len is the number of records.
func (i *Idents) Len() int {
	if i == nil {
		return 0
	}
	return len(i.list)
}

// List gives the records in file order.
func (i *Idents) List() []Ident {
	if i == nil {
		return nil
	}
	return slices.Clone(i.list)
}

// needsRoles reports whether a record of the map names a +group.
func (i *Idents) needsRoles(mapName string) bool {
	return i != nil && slices.ContainsFunc(i.list, func(r Ident) bool { return r.Map == mapName && r.Role.group() })
}

// Allows reports whether a map lets somebody with a name from outside (of a certificate, or of the operating system)
// log in as a role. With the empty map name the two must be equal. Nobody has no name. roles are those the role is a member
// of, itself included; without them no +group matches.
func (i *Idents) Allows(mapName, systemName, role string, roles ...string) bool {
	switch {
	case systemName == "" || role == "":
		return false
	case mapName == "":
		return systemName == role
	case i == nil:
		return false
	}
	for n := range i.list {
		r := &i.list[n]
		if r.Map != mapName {
			continue
		}
		allows, end := r.allows(systemName, role, roles)
		if allows || end {
			return allows
		}
	}
	return false
}

// allows reports also that the search ends at this record: the part of the name that makes the role is not there.
func (r *Ident) allows(systemName, role string, roles []string) (allows, end bool) {
	switch {
	case r.System.regex == nil:
		return r.System.Text == systemName && r.Role.matchesRole(role, roles) == yes, false
	case !r.refersBack():
		return r.System.regex.MatchString(systemName) && r.Role.matchesRole(role, roles) == yes, false
	}
	m := r.System.regex.FindStringSubmatchIndex(systemName)
	switch {
	case m == nil:
		return false, false
	case m[2] < 0:
		return false, true
	}
	// The result is a name, never a keyword or a group, whatever the client has written into its certificate.
	return strings.Replace(r.Role.Text, backReference, systemName[m[2]:m[3]], 1) == role, false
}

// dotAll lets a dot match the end of a line, as in PostgreSQL: a name with one must not get around a record.
const dotAll = "(?s)"

// compile makes the regular expression of a token that begins with a slash, in quotes or not; it gives what is wrong, or
// "".
func (t *Token) compile() string {
	if !strings.HasPrefix(t.Text, "/") {
		return ""
	}
	regex, err := regexp.Compile(dotAll + t.Text[1:])
	switch {
	case t.Text == "/":
		return `invalid regular expression "": it would match everything`
	case err != nil:
		why := strings.Replace(err.Error(), dotAll, "", 1)
		return `invalid regular expression "` + t.Text[1:] + `": ` + strings.TrimPrefix(why, "error parsing regexp: ")
	}
	t.regex = regex
	return ""
}
