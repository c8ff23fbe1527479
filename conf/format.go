package conf

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// joinList is the inverse of splitList.
func joinList(elements []string, sep byte) string { return strings.Join(elements, string(sep)) }

// hidden is shown in place of a secret.
const hidden = "*****"

// shown is a text as it may be told to others.
func (p *Param) shown(text string) string {
	if p.Secret && text != "" {
		return hidden
	}
	return text
}

// show is the value as PGPOOL SHOW prints it.
func (c *Config) show(p *Param, n int) string {
	if p.Secret {
		return hidden
	}
	switch at := p.at(c, n).(type) {
	case *bool:
		if *at {
			return "on"
		}
		return "off"
	case enumField:
		return p.enumText(at.get())
	case *int, *int64, *time.Duration:
		if p.bareUnits() {
			return strconv.FormatInt(p.base(at), 10)
		}
		return p.withUnit(p.base(at))
	case *uint32:
		if p.Max == 0o777 {
			return fmt.Sprintf("%04o", *at)
		}
		return strconv.Itoa(int(*at))
	case *float64:
		return strconv.FormatFloat(*at, 'f', -1, 64)
	case *BackendFlag:
		return at.String()
	case *string:
		if p.Type == TypeString && *at != "" {
			return *at
		}
	}
	return c.text(p, n)
}

// base is a number in the parameter's base unit.
func (p *Param) base(at any) int64 {
	switch at := at.(type) {
	case *int:
		return int64(*at)
	case *int64:
		return *at / p.baseSize()
	case *uint32:
		return int64(*at)
	case *time.Duration:
		return int64(*at / p.baseDuration())
	}
	panic("conf: " + p.Name + " is no number")
}

func (p *Param) enumText(v uint8) string {
	for _, e := range p.enum {
		if e.value == v {
			return e.name
		}
	}
	return strconv.Itoa(int(v))
}

// text is the value as written.
func (c *Config) text(p *Param, n int) string {
	if a, ok := c.assigned[key{p.Name, n}]; ok {
		return a.text
	}
	return p.defaultIn(c.Dir)
}

// raw is the value as SHOW pool_status prints it.
func (c *Config) raw(p *Param, n int) string {
	if p.Secret && p.Type != TypePath {
		return hidden
	}
	switch at := p.at(c, n).(type) {
	case *bool:
		if *at {
			return "1"
		}
		return "0"
	case enumField:
		if p.Name == "syslog_facility" {
			return p.enumText(at.get())
		}
		return strconv.Itoa(int(at.get()))
	case *int, *int64, *time.Duration:
		return strconv.FormatInt(p.base(at), 10)
	case *[]string:
		return joinList(*at, p.sep)
	case *string:
		if p.Type == TypePath {
			return c.text(p, n)
		}
		return *at
	}
	if _, set := c.assigned[key{p.Name, n}]; p.Unset && !set {
		return "(null)"
	}
	return c.show(p, n)
}
