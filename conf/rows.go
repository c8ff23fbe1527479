package conf

import (
	"math"
	"net/netip"
	"sync"
	"time"
)

// table is all rows with an index by name. It is built once and never changed.
type table struct {
	rows   []Param
	byName map[string]*Param
}

// params returns the table; it is a constant Go cannot spell as one.
var params = sync.OnceValue(func() *table {
	t := &table{byName: make(map[string]*Param)}
	for _, a := range areas() {
		for _, p := range a.rows {
			p.Area = a.title
			t.rows = append(t.rows, p)
		}
	}
	for i := range t.rows {
		t.byName[t.rows[i].Name] = &t.rows[i]
	}
	return t
})

// Params returns a copy of the table, in the order of the documents.
func Params() []Param { return append([]Param(nil), params().rows...) }

type area struct {
	title   string
	rows    []Param
	example string // comment in the sample, ends with a newline
}

func areas() []area {
	return []area{
		{title: "Clustering mode", rows: modeRows()},
		{title: "Connections", rows: connectionRows()},
		{title: "Sessions and pooling", rows: poolRows()},
		{title: "Pooling of server connections", rows: sharingRows()},
		{title: "Backends", rows: backendRows()},
		{title: "Authentication", rows: authRows()},
		{title: "TLS", rows: sslRows()},
		{title: "TLS towards the servers", rows: backendTLSRows()},
		{title: "Logging", rows: loggingRows()},
		{title: "Files", rows: fileRows()},
		{title: "Load balancing", rows: loadBalanceRows()},
		{title: "Native replication and snapshot isolation", rows: replicationRows()},
		{title: "Streaming replication check", rows: streamingRows()},
		{title: "Health check", rows: healthRows()},
		{title: "Failover and failback", rows: failoverRows()},
		{title: "Failover without scripts", rows: autoFailoverRows()},
		{title: "Agents", rows: agentRows()},
		{title: "Online recovery", rows: recoveryRows()},
		{title: "Watchdog", rows: watchdogRows(), example: watchdogExample},
		{title: "Watchdog life check", rows: lifecheckRows()},
		{title: "Query cache", rows: queryCacheRows()},
		{title: "Relation cache", rows: relationCacheRows()},
		{title: "Input and output", rows: ioRows()},
		{title: "Health and metrics over HTTP", rows: httpRows()},
	}
}

const (
	maxInt  = math.MaxInt32
	maxLong = math.MaxInt64
	// maxSeconds and maxMinutes keep a value within time.Duration.
	maxSeconds = math.MaxInt64 / int64(time.Second)
	maxMinutes = 35791394
)

// The constructors of rows. The last argument says where the value lives.

func boolean(name string, ctx Context, def, doc string, at func(*Config) *bool) Param {
	return Param{Name: name, Type: TypeBool, Context: ctx, Default: def, Doc: doc, at: scalar(at)}
}

func integer(name string, ctx Context, least, most int64, def, doc string, at func(*Config) *int) Param {
	return Param{Name: name, Type: TypeInt, Context: ctx, Min: least, Max: most, Default: def, Doc: doc, at: scalar(at)}
}

func fileMode(name string, ctx Context, most int64, def, doc string, at func(*Config) *uint32) Param {
	return Param{Name: name, Type: TypeMode, Context: ctx, Max: most, Default: def, Doc: doc, at: scalar(at)}
}

func duration(name string, ctx Context, unit string, least int64, def, doc string, at func(*Config) *time.Duration) Param {
	return Param{
		Name: name, Type: TypeDuration, Unit: unit, Context: ctx, Min: least, Max: maxInt, Default: def, Doc: doc,
		at: scalar(at),
	}
}

func size(name string, ctx Context, unit string, least, most int64, def, doc string, at func(*Config) *int64) Param {
	return Param{
		Name: name, Type: TypeSize, Unit: unit, Context: ctx, Min: least, Max: most, Default: def, Doc: doc,
		at: scalar(at),
	}
}

func text(name string, ctx Context, def, doc string, at func(*Config) *string) Param {
	return Param{Name: name, Type: TypeString, Context: ctx, Default: def, Doc: doc, at: scalar(at)}
}

func path(name string, ctx Context, def, doc string, at func(*Config) *string) Param {
	return Param{Name: name, Type: TypePath, Context: ctx, Default: def, Doc: doc, at: scalar(at)}
}

func list(name string, ctx Context, sep byte, def, doc string, at func(*Config) *[]string) Param {
	return Param{Name: name, Type: TypeList, Context: ctx, sep: sep, Default: def, Doc: doc, at: scalar(at)}
}

func patterns(name string, ctx Context, sep byte, doc string, at func(*Config) *Patterns) Param {
	return Param{Name: name, Type: TypePatterns, Context: ctx, sep: sep, Doc: doc, at: scalar(at)}
}

func redirects(name string, ctx Context, doc string, at func(*Config) *RedirectList) Param {
	return Param{Name: name, Type: TypeRedirects, Context: ctx, sep: ',', Unset: true, Doc: doc, at: scalar(at)}
}

func enum[E ~uint8](name string, ctx Context, values []enumValue, def, doc string, at func(*Config) *E) Param {
	return Param{
		Name: name, Type: TypeEnum, Context: ctx, enum: values, Default: def, Doc: doc,
		at: func(c *Config, _ int) any { return enumRef(at(c)) },
	}
}

// numberedEnum is numbered for an enum.
func numberedEnum[E ~uint8](f Family, p Param, at func(c *Config, n int) *E) Param {
	p.Family = f
	p.at = func(c *Config, n int) any { return enumRef(at(c, n)) }
	return p
}

func networks(name string, ctx Context, def, doc string, at func(*Config) *[]netip.Prefix) Param {
	return Param{Name: name, Type: TypeNetworks, Context: ctx, sep: ',', Default: def, Doc: doc, at: scalar(at)}
}

func scalar[T any](at func(*Config) *T) func(*Config, int) any {
	return func(c *Config, _ int) any { return at(c) }
}

// numbered makes a row a member of a family.
func numbered[T any](f Family, p Param, at func(c *Config, n int) *T) Param {
	p.Family = f
	p.at = func(c *Config, n int) any { return at(c, n) }
	return p
}

// ours marks a parameter Pgpool-II does not have.
func ours(p Param) Param {
	p.Ours = true
	return p
}

// secret hides a value from SHOW.
func secret(p Param) Param {
	p.Secret = true
	return p
}

// unset makes SHOW pool_status print the default as (null).
func unset(p Param) Param {
	p.Unset = true
	return p
}

// within replaces the upper bound.
func within(most int64, p Param) Param {
	p.Max = most
	return p
}

// zeroAllowed accepts 0 although it is below the range.
func zeroAllowed(p Param) Param {
	p.zeroOK = true
	return p
}
