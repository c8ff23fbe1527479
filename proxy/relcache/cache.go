package relcache

import (
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/proxy/stmt"
)

const (
	// defaultExpire stands for relcache_expire = 0, which Pgpool-II takes as "until the process ends". A table that is made
	// unlogged behind our back must not be misjudged for ever.
	defaultExpire = 5 * time.Minute
	// missExpire bounds how long "there is no such name" is believed: it is also what is answered for names of WITH queries,
	// and a table of that name may be created by others at any time.
	missExpire  = 15 * time.Second
	minSize     = 64
	minCombined = 1024
	// maxNames bounds the questions of one statement; one that names more goes to the primary unasked.
	maxNames = 100
)

// Names are the answers about all names of a statement. Each number is 1 + the index of the first relation, or function,
// in the statement's facts that has the property; 0 if none has.
type Names struct {
	Catalog  uint16 // relations: a relation of that name lies in schema pg_catalog
	Unlogged uint16 // relations
	Temp     uint16 // relations, then types: temporary, of this session
	Calls    uint16 // relations: a sequence, or a view that reads one or calls a volatile function
	Missing  uint16 // relations: there is none of that name but for what Temp tells
	Parent   uint16 // relations: a table others inherit from, some of which may be temporary
	Volatile uint16 // functions: some overload is volatile
	// TempSchema: the session has, or had, temporary objects.
	TempSchema bool
	Unknown    bool // some name cannot be asked about
}

// Options are relcache_expire (0 = five minutes) and relcache_size (relations, and functions, kept per database; at
// least 64).
type Options struct {
	Expire time.Duration
	Size   int
}

// Cache holds the answers of all databases. It is safe for concurrent use.
type Cache struct {
	opt Options

	mu        sync.Mutex
	databases map[string]*Database // guarded by mu
}

// New returns an empty cache.
func New(o Options) *Cache {
	if o.Expire <= 0 {
		o.Expire = defaultExpire
	}
	o.Size = max(o.Size, minSize)
	return &Cache{opt: o, databases: make(map[string]*Database)}
}

// Database returns the answers of one database. Sessions ask for it once, when they first need it: a database that does
// not exist should leave nothing behind.
func (c *Cache) Database(name string) *Database {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.databases[name]
	if d == nil {
		d = &Database{
			opt:       c.opt,
			relations: make(map[stmt.Name]answer),
			functions: make(map[stmt.Name]answer),
		}
		c.databases[name] = d
	}
	return d
}

// Forget drops the answers about a database, see Database.Forget.
func (c *Cache) Forget(database string) {
	c.mu.Lock()
	d := c.databases[database]
	c.mu.Unlock()
	if d != nil {
		d.Forget()
	}
}

// Database holds the answers of one database. It is safe for concurrent use; what is known of a whole statement is found
// without a lock and without allocation.
type Database struct {
	opt Options

	// statements: *stmt.Facts to *combined. Keys are compared by address, which the facts' own cache keeps stable.
	statements sync.Map
	combined   atomic.Int64  // entries of statements, about
	generation atomic.Uint64 // rises with Forget

	mu        sync.RWMutex
	relations map[stmt.Name]answer // guarded by mu
	functions map[stmt.Name]answer // guarded by mu
}

// answer is what the catalogue said about one name.
type answer struct {
	exists   bool // a permanent relation, or a function
	catalog  bool
	unlogged bool
	volatile bool
	calls    bool // a sequence, or a view that reads one or calls a volatile function
	parent   bool // a table with children
	expires  time.Time
}

// combined are the shared answers about a statement; Temp is set only for names that say so themselves.
type combined struct {
	names      Names
	generation uint64
	expires    time.Time
}

// Forget drops all answers. A session calls it when a statement succeeded that may have changed relations or functions
// (DDL, text that is not understood, DO, CALL, strings of several statements), and once more when the transaction in
// which it ran is over: until then others see the old state. Answers under way are not kept.
func (d *Database) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.generation.Add(1)
	clear(d.relations)
	clear(d.functions)
	d.statements.Clear()
	d.combined.Store(0)
}

// look answers for a whole statement from what is known.
func (d *Database) look(f *stmt.Facts, now time.Time) (Names, bool) {
	if v, ok := d.statements.Load(f); ok {
		c := v.(*combined)
		if c.generation == d.generation.Load() && now.Before(c.expires) {
			return c.names, true
		}
	}
	return d.combine(f, now)
}

// combine puts the answers about a statement's names together and keeps the result.
func (d *Database) combine(f *stmt.Facts, now time.Time) (Names, bool) {
	c := &combined{generation: d.generation.Load(), expires: now.Add(d.opt.Expire)}
	d.mu.RLock()
	ok := c.collect(f, func(kind kind, n stmt.Name) (answer, bool) {
		a, found := d.of(kind)[n]
		return a, found && now.Before(a.expires)
	})
	d.mu.RUnlock()
	if !ok {
		return Names{}, false
	}
	d.keep(f, c)
	return c.names, true
}

func (d *Database) keep(f *stmt.Facts, c *combined) {
	if d.combined.Add(1) > int64(max(minCombined, 4*d.opt.Size)) {
		d.statements.Clear()
		d.combined.Store(1)
	}
	d.statements.Store(f, c)
}

// of returns the map of a kind of name. The caller holds mu.
func (d *Database) of(k kind) map[stmt.Name]answer {
	if k == function {
		return d.functions
	}
	return d.relations
}

// learn keeps answers that were asked for under the given generation.
func (d *Database) learn(generation uint64, q []question, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.generation.Load() != generation {
		return
	}
	for i := range q {
		if q[i].only {
			continue
		}
		a := q[i].answer
		a.expires = now.Add(d.opt.Expire)
		if !a.exists {
			a.expires = now.Add(min(missExpire, d.opt.Expire))
		}
		m := d.of(q[i].kind)
		makeRoom(m, d.opt.Size, now)
		m[q[i].name] = a
	}
}

// makeRoom drops what has expired when a map is full, and if that is nothing a few others.
func makeRoom(m map[stmt.Name]answer, size int, now time.Time) {
	if len(m) < size {
		return
	}
	for n, a := range m {
		if !now.Before(a.expires) {
			delete(m, n)
		}
	}
	spare := size - size/8
	for n := range m {
		if len(m) <= spare {
			return
		}
		delete(m, n)
	}
}

// collect fills in the names of a statement from the answers get gives; false if one is missing.
func (c *combined) collect(f *stmt.Facts, get func(kind, stmt.Name) (answer, bool)) bool {
	if len(f.Relations)+len(f.Functions) > maxNames {
		c.names.Unknown = true
		return true
	}
	ok := true
	each := func(k kind, list []stmt.Name) {
		for i, n := range list {
			if !askable(n) {
				c.names.Unknown = true
				continue
			}
			a, found := get(k, n)
			if !found {
				ok = false
				continue
			}
			c.add(k, n, uint16(i+1), a)
		}
	}
	each(relation, f.Relations)
	each(function, f.Functions)
	return ok
}

func (c *combined) add(k kind, n stmt.Name, at uint16, a answer) {
	set := func(field *uint16, yes bool) {
		if yes && *field == 0 {
			*field = at
		}
	}
	if k == function {
		set(&c.names.Volatile, a.volatile)
	} else {
		set(&c.names.Catalog, a.catalog)
		set(&c.names.Unlogged, a.unlogged)
		set(&c.names.Calls, a.calls)
		set(&c.names.Parent, a.parent)
		set(&c.names.Missing, !a.exists)
		set(&c.names.Temp, n.Schema == "pg_temp")
	}
	if !a.expires.IsZero() && a.expires.Before(c.expires) {
		c.expires = a.expires
	}
}
