package conf

import (
	"fmt"
	"strings"
	"time"
)

// Type is the form of a parameter's value.
type Type uint8

// The types of values.
const (
	TypeBool Type = iota + 1
	TypeInt
	TypeMode // an int whose bits are file permissions
	TypeReal
	TypeDuration
	TypeSize
	TypeEnum
	TypeString
	TypePath // string; relative names are relative to the directory of pgpool.conf
	TypeList
	TypePatterns
	TypeRedirects
	TypeRelationships
	TypeFlags
	TypeDestinations
	TypeNetworks
)

func (t Type) String() string {
	switch t {
	case TypeBool:
		return "boolean"
	case TypeInt, TypeMode:
		return "integer"
	case TypeReal:
		return "real"
	case TypeDuration:
		return "time"
	case TypeSize:
		return "size"
	case TypeEnum:
		return "enum"
	case TypeString:
		return "string"
	case TypePath:
		return "file name"
	case TypeList:
		return "list"
	case TypePatterns:
		return "regex list"
	case TypeRedirects:
		return "redirect list"
	case TypeRelationships:
		return "object list"
	case TypeFlags:
		return "flags"
	case TypeDestinations, TypeNetworks:
		return "list"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Context is when a change of a parameter takes effect.
type Context uint8

// The contexts.
const (
	Start   Context = iota + 1 // at a restart
	Reload                     // at a reload
	Session                    // at a reload, and PGPOOL SET in a session
)

func (c Context) String() string {
	switch c {
	case Start:
		return "restart"
	case Reload:
		return "reload"
	case Session:
		return "reload, session"
	}
	return fmt.Sprintf("Context(%d)", uint8(c))
}

// Family tells which numbering a parameter belongs to.
type Family uint8

// The families of numbered parameters. They are also the groups of PGPOOL SHOW.
const (
	NotNumbered Family = iota
	FamilyBackend
	FamilyWatchdog
	FamilyHeartbeat
	FamilyHealthCheck
	FamilyBackendTLS
	FamilyAgent
)

// inherits tells that the index-free name is a value of its own, for all nodes without one.
func (f Family) inherits() bool { return f == FamilyHealthCheck || f == FamilyBackendTLS }

// group is the name PGPOOL SHOW knows the family by.
func (f Family) group() string {
	return [...]string{"", "backend", "watchdog", "heartbeat", "health_check", "backend_ssl", "agent"}[f]
}

// maxIndex is the highest index the family accepts.
func (f Family) maxIndex() int {
	if f == FamilyHeartbeat {
		return 255
	}
	return 127
}

// Param is one row of the table: everything the program knows about a parameter.
type Param struct {
	Name    string
	Type    Type
	Unit    string // base unit: B, kB, ms, s, min; "" = plain number
	Min     int64  // in base units
	Max     int64  // in base units; for strings the greatest length, 0 = any
	Default string // as one would write it; "" with Unset = never set
	Unset   bool   // SHOW pool_status tells the default as (null)
	Context Context
	Family  Family
	Area    string // heading in documents
	Ours    bool   // not a parameter of Pgpool-II
	Secret  bool   // SHOW hides the value
	Doc     string // at most 79 characters

	sep    byte // of lists
	zeroOK bool // 0 is allowed although below Min
	enum   []enumValue
	at     func(c *Config, n int) any // where the value lives: a pointer, or an enumField
}

// enumField is the place of an enum value, whatever its Go type.
type enumField interface {
	get() uint8
	set(uint8)
}

type enumAt[E ~uint8] struct{ p *E }

func (e enumAt[E]) get() uint8  { return uint8(*e.p) }
func (e enumAt[E]) set(v uint8) { *e.p = E(v) }

func enumRef[E ~uint8](p *E) enumField { return enumAt[E]{p} }

// Allowed says in words what may be written.
func (p *Param) Allowed() string {
	switch p.Type {
	case TypeBool:
		return "on or off"
	case TypeInt, TypeDuration, TypeSize:
		return p.allowedRange("%d .. %d")
	case TypeMode:
		return p.allowedRange("%#o .. %#o")
	case TypeReal:
		return fmt.Sprintf("%d .. %d", p.Min, p.Max)
	case TypeEnum:
		return strings.Join(p.enumNames(), ", ")
	case TypeList:
		return "elements separated by " + string(p.sep)
	case TypePatterns:
		return "regular expressions separated by " + string(p.sep)
	case TypeRedirects:
		return "regex:node(ratio),... where node is primary, standby or a number"
	case TypeRelationships:
		return "object:dependent,..."
	case TypeFlags:
		return "ALLOW_TO_FAILOVER or DISALLOW_TO_FAILOVER, |ALWAYS_PRIMARY"
	case TypeDestinations:
		return "stderr, syslog"
	case TypeNetworks:
		return "addresses or address/length, separated by ,"
	case TypeString, TypePath:
	}
	if p.Max > 0 {
		return fmt.Sprintf("at most %d characters", p.Max)
	}
	return "any text"
}

func (p *Param) allowedRange(format string) string {
	s := fmt.Sprintf(format, p.Min, p.Max)
	if p.zeroOK {
		s = "0 or " + s
	}
	if p.Unit != "" {
		s += " " + p.Unit
	}
	return s
}

func (p *Param) enumNames() []string {
	names := make([]string, 0, len(p.enum))
	for _, e := range p.enum {
		if !e.hidden {
			names = append(names, e.name)
		}
	}
	return names
}

// bareUnits reports whether SHOW prints the number without a unit.
func (p *Param) bareUnits() bool { return p.Family != NotNumbered }

// baseDuration is one base unit of a TypeDuration.
func (p *Param) baseDuration() time.Duration {
	switch p.Unit {
	case "ms":
		return time.Millisecond
	case "min":
		return time.Minute
	default:
		return time.Second
	}
}

// baseSize is one base unit of a TypeSize.
func (p *Param) baseSize() int64 {
	if p.Unit == "kB" {
		return 1 << 10
	}
	return 1
}

// displayName is the name with its index.
func displayName(k key) string {
	if k.index == noIndex {
		return k.name
	}
	return fmt.Sprintf("%s%d", k.name, k.index)
}
