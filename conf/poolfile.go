package conf

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// poolFile is what the pool file says. The zero value is an empty file. It is never changed once it was read.
type poolFile struct {
	databases map[string]*poolLine
	fallback  *poolLine // "*", for databases without a line
	users     map[string]*poolLine
}

// poolLine is the settings of one database or user. A nil line sets nothing.
type poolLine struct {
	keys   []poolKey
	values Pools  // of those keys only
	text   string // the settings as written
}

// database is the line that holds for a database, nil if there is none.
func (f *poolFile) database(name string) *poolLine {
	if l, ok := f.databases[name]; ok {
		return l
	}
	return f.fallback
}

func (l *poolLine) apply(p *Pooling) {
	if l == nil {
		return
	}
	for _, k := range l.keys {
		k.set(p, &l.values)
	}
}

// has reports whether the line sets the key of that name.
func (l *poolLine) has(name string) bool {
	return l != nil && slices.ContainsFunc(l.keys, func(k poolKey) bool { return k.name == name })
}

// The sections of a pool file.
const (
	databasesSection = "databases"
	usersSection     = "users"
	bouncerSection   = "pgbouncer"
)

// fallbackName stands for the databases without a line. In quotes it is a name like any other.
const fallbackName = "*"

// takePoolFile reads the file pool_file names into c.
func (l *loader) takePoolFile(c *Config) {
	name := c.Pools.PoolFile
	if name == "" || l.bad["pool_file"] {
		return
	}
	text, err := l.read(name)
	if err != nil {
		a := c.assigned[key{"pool_file", noIndex}]
		l.reportValue(a, a.name, &valueError{text: fmt.Sprintf("could not read pool file \"%s\": %v", name, err)})
		return
	}
	entries, problems := readPoolFile(name, string(text))
	l.problems = append(l.problems, problems...)
	r := poolFileReader{file: name, report: l.report}
	for _, e := range entries {
		r.take(e)
	}
	c.poolFile = r.out
}

// poolFileReader gives the entries of a pool file their meaning.
type poolFileReader struct {
	file   string
	report func(Problem)
	out    poolFile
}

func (r *poolFileReader) problem(s Severity, e poolEntry, name, text, hint string) {
	r.report(Problem{Severity: s, File: r.file, Line: e.line, Name: name, Text: text, Hint: hint})
}

func (r *poolFileReader) take(e poolEntry) {
	switch e.section {
	case databasesSection:
		line := r.line(e)
		switch {
		case e.name == fallbackName && !e.quoted:
			r.out.fallback = line
		case r.out.databases == nil:
			r.out.databases = map[string]*poolLine{e.name: line}
		default:
			r.out.databases[e.name] = line
		}
	case usersSection:
		if e.name == fallbackName && !e.quoted {
			r.problem(Error, e, e.name, "* is not allowed in [users]", "what holds for all users is said in pgpool.conf")
			return
		}
		if r.out.users == nil {
			r.out.users = make(map[string]*poolLine)
		}
		r.out.users[e.name] = r.line(e)
	case bouncerSection:
		r.problem(Warning, e, e.name, fmt.Sprintf("%s in a pool file has no effect", e.name), insteadOf(e.name))
	}
}

// insteadOf says where a parameter of PgBouncer belongs.
func insteadOf(name string) string {
	if p, ok := params().byName[name]; ok && p.Family == NotNumbered {
		return "its place is pgpool.conf"
	}
	if ours := bouncerNames()[name]; ours != "" {
		return "write " + ours + " in pgpool.conf"
	}
	return "there is no such parameter here"
}

// line reads the settings of a database or user.
func (r *poolFileReader) line(e poolEntry) *poolLine {
	settings, bad := splitConnectionString(e.value)
	if bad != "" {
		r.problem(Error, e, e.name, fmt.Sprintf("syntax error in the settings of %s: %s", e.label(), bad),
			"they are written as key=value key='value with blanks', comments on lines of their own")
		return nil
	}
	line := &poolLine{}
	var texts, foreign []string
	for _, s := range settings {
		switch {
		case s.key == "dbname" && e.section == databasesSection:
			r.checkAlias(e, s.value)
		case e.section == databasesSection && slices.Contains(foreignKeys(), s.key):
			foreign = append(foreign, s.key)
		case r.setting(e, line, s):
			texts = append(texts, s.key+"="+s.value)
		}
	}
	if len(foreign) > 0 {
		r.problem(Warning, e, e.name, fmt.Sprintf("no effect in the settings of %s: %s", e.label(), strings.Join(foreign, ", ")),
			"servers are told in pgpool.conf, passwords in pool_passwd, a database's settings by ALTER DATABASE")
	}
	line.text = strings.Join(texts, " ")
	return line
}

// foreignKeys are those of a database's line that say what is said elsewhere here.
func foreignKeys() []string {
	return []string{
		"host", "port", "user", "password", "auth_user", "auth_query", "auth_dbname", "connect_query", "load_balance_hosts",
		"client_encoding", "datestyle", "timezone", "application_name",
	}
}

// checkAlias refuses another name for a database: routing, limits and the catalogue cache know a database by one name.
func (r *poolFileReader) checkAlias(e poolEntry, name string) {
	if e.name == name {
		return
	}
	r.problem(Error, e, "dbname", fmt.Sprintf("dbname=%s: a database cannot be given another name", name),
		"clients connect to a database under its own name")
}

// setting reads one setting into the line, and reports whether it could.
func (r *poolFileReader) setting(e poolEntry, line *poolLine, s setting) bool {
	name := s.key
	if name == "reserve_pool" {
		name = "reserve_pool_size"
	}
	k, known := findPoolKey(name)
	switch {
	case !known:
		r.problem(Error, e, s.key, fmt.Sprintf("unknown setting %q of %s", s.key, e.label()), "allowed: "+allowedKeys(e.section))
		return false
	case !k.allowedIn(e.section):
		r.problem(Error, e, s.key, fmt.Sprintf("%s is not allowed in [%s]", s.key, e.section), "allowed: "+allowedKeys(e.section))
		return false
	case line.has(name):
		r.problem(Error, e, s.key, fmt.Sprintf("%s is set twice for %s", name, e.label()), "")
		return false
	}
	scratch := &Config{Pools: line.values}
	p := params().byName[k.param]
	if _, bad := p.parse(scratch, noIndex, s.value); bad != nil {
		text := strings.Replace(bad.text, `"`+k.param+`"`, `"`+s.key+`"`, 1)
		r.problem(Error, e, s.key, fmt.Sprintf("%s: %s", e.label(), text), cmp.Or(bad.hint, "allowed: "+p.Allowed()))
		return false
	}
	line.values = scratch.Pools
	line.keys = append(line.keys, k)
	return true
}

// poolChanges tells what is different in the pool file.
func poolChanges(was, is *poolFile) []Change {
	var changes []Change
	compare := func(label string, a, b *poolLine) {
		if !equalLines(a, b) {
			changes = append(changes, Change{Name: "pool_file " + label, Old: a.shown(), New: b.shown()})
		}
	}
	for _, n := range unionOfNames(was.databases, is.databases) {
		compare(databasesSection+"."+n, was.databases[n], is.databases[n])
	}
	compare(databasesSection+"."+fallbackName, was.fallback, is.fallback)
	for _, n := range unionOfNames(was.users, is.users) {
		compare(usersSection+"."+n, was.users[n], is.users[n])
	}
	return changes
}

func equalLines(a, b *poolLine) bool { return (a == nil) == (b == nil) && a.shown() == b.shown() }

// shown is the settings as a log may tell them.
func (l *poolLine) shown() string {
	if l == nil {
		return ""
	}
	return l.text
}

func unionOfNames(a, b map[string]*poolLine) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}
