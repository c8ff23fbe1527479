package conf

// poolFile is what the pool file says. The zero value is an empty file.
type poolFile struct {
	databases map[string]*poolLine
	fallback  *poolLine // "*", for databases without a line
	users     map[string]*poolLine
}

// poolLine is the settings of one database or user. A nil line sets nothing.
type poolLine struct {
	keys   []poolKey
	values Pools // of those keys only
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
	if l == nil {
		return false
	}
	for _, k := range l.keys {
		if k.name == name {
			return true
		}
	}
	return false
}
