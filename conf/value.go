package conf

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// valueError says why a text is no value of a parameter, in the words clients and files are told.
type valueError struct {
	text   string
	detail string
	hint   string
}

func (p *Param) invalid(value string) *valueError {
	value = p.shown(value)
	e := &valueError{text: fmt.Sprintf("invalid value for parameter %q: \"%s\"", p.Name, value)}
	if p.Type == TypeEnum {
		e.hint = "Available values: " + strings.Join(p.enumNames(), ", ") + "."
	}
	return e
}

func (p *Param) outside(value string) *valueError {
	return &valueError{text: fmt.Sprintf("%s is outside the valid range for parameter %q (%d .. %d)", value, p.Name, p.Min, p.Max)}
}

// parse reads text into the parameter's place in c. Warnings are about parts of it that are left out. An error leaves the
// place as it was.
func (p *Param) parse(c *Config, n int, text string) (warnings []string, err *valueError) {
	switch at := p.at(c, n).(type) {
	case *bool:
		return nil, p.parseBool(at, text)
	case enumField:
		return nil, p.parseEnum(at, text)
	case *int, *int64, *uint32, *time.Duration:
		return nil, p.parseNumber(at, text)
	case *float64:
		return nil, p.parseReal(at, text)
	case *string:
		return nil, p.parseString(at, c.Dir, text)
	case *[]string:
		return nil, p.parseList(at, text)
	case *Patterns:
		*at, warnings = parsePatterns(text, p.sep)
		return warnings, nil
	case *RedirectList:
		l, err := parseRedirects(text)
		if err == nil {
			*at = l
		}
		return nil, err
	case *ObjectRelationships:
		return nil, parseRelationships(p, at, text)
	case *BackendFlag:
		return nil, p.parseFlags(at, text)
	case *LogDestination:
		return nil, p.parseDestinations(at, text)
	case *[]netip.Prefix:
		return nil, p.parseNetworks(at, text)
	}
	panic("conf: no reader for parameter " + p.Name)
}

func (p *Param) parseBool(at *bool, text string) *valueError {
	v, ok := boolValue(strings.TrimSpace(text))
	if !ok {
		err := p.invalid(text)
		err.hint = "Allowed are on and off."
		return err
	}
	*at = v
	return nil
}

// boolValue accepts any unambiguous beginning of the words, in any case.
func boolValue(s string) (value, ok bool) {
	s = strings.ToLower(s)
	switch s {
	case "":
		return false, false
	case "1", "on":
		return true, true
	case "0", "of", "off":
		return false, true
	}
	switch {
	case strings.HasPrefix("true", s), strings.HasPrefix("yes", s):
		return true, true
	case strings.HasPrefix("false", s), strings.HasPrefix("no", s):
		return false, true
	}
	return false, false
}

func (p *Param) parseEnum(at enumField, text string) *valueError {
	for _, e := range p.enum {
		if strings.EqualFold(e.name, strings.TrimSpace(text)) {
			at.set(e.value)
			return nil
		}
	}
	return p.invalid(text)
}

func (p *Param) parseNumber(at any, text string) *valueError {
	v, err := p.inRange(text)
	if err != nil {
		return err
	}
	switch at := at.(type) {
	case *int:
		*at = int(v)
	case *int64:
		if v > math.MaxInt64/p.baseSize() {
			return p.outside(text)
		}
		*at = v * p.baseSize()
	case *uint32:
		*at = uint32(v)
	case *time.Duration:
		*at = time.Duration(v) * p.baseDuration()
	}
	return nil
}

func (p *Param) parseReal(at *float64, text string) *valueError {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(v) {
		return p.invalid(text)
	}
	if v < float64(p.Min) || v > float64(p.Max) {
		return p.outside(strings.TrimSpace(text))
	}
	*at = v
	return nil
}

func (p *Param) parseString(at *string, dir, text string) *valueError {
	if p.Max > 0 && int64(len(text)) > p.Max {
		return p.tooLong(text)
	}
	if strings.IndexByte(text, 0) >= 0 {
		return p.invalid(text)
	}
	if p.Type == TypePath && text != "" && !filepath.IsAbs(text) {
		text = filepath.Join(dir, text)
	}
	*at = text
	return nil
}

func (p *Param) tooLong(value string) *valueError {
	err := p.invalid(value)
	err.hint = fmt.Sprintf("At most %d characters are allowed.", p.Max)
	return err
}

func (p *Param) parseList(at *[]string, text string) *valueError {
	elements := splitList(text, p.sep)
	for _, e := range elements {
		if p.Max > 0 && int64(len(e)) > p.Max {
			return p.tooLong(e)
		}
	}
	*at = elements
	return nil
}

// splitList drops blanks around elements, and empty elements.
func splitList(text string, sep byte) []string {
	var elements []string
	for e := range strings.SplitSeq(text, string(sep)) {
		if e = strings.TrimSpace(e); e != "" {
			elements = append(elements, e)
		}
	}
	return elements
}

func (p *Param) parseFlags(at *BackendFlag, text string) *valueError {
	var f BackendFlag
	allow := false
	for _, e := range splitList(text, p.sep) {
		switch e {
		case "ALLOW_TO_FAILOVER":
			allow = true
		case "DISALLOW_TO_FAILOVER":
			f.DisallowFailover = true
		case "ALWAYS_PRIMARY":
			f.AlwaysPrimary = true
		default:
			err := p.invalid(text)
			err.detail = "unknown backend flag:" + e
			return err
		}
	}
	if allow && f.DisallowFailover {
		err := p.invalid(text)
		err.detail = "ALLOW_TO_FAILOVER and DISALLOW_TO_FAILOVER exclude each other"
		return err
	}
	*at = f
	return nil
}

func (p *Param) parseDestinations(at *LogDestination, text string) *valueError {
	var d LogDestination
	for _, e := range splitList(text, p.sep) {
		switch e {
		case "stderr":
			d.Stderr = true
		case "syslog":
			d.Syslog = true
		default:
			err := p.invalid(text)
			err.detail = "unknown destination :" + e
			return err
		}
	}
	*at = d
	return nil
}

// parseNetworks takes an address without a length for itself alone.
func (p *Param) parseNetworks(at *[]netip.Prefix, text string) *valueError {
	var networks []netip.Prefix
	for _, e := range splitList(text, p.sep) {
		network, err := netip.ParsePrefix(e)
		if ip, err2 := netip.ParseAddr(e); err2 == nil && ip.Zone() == "" {
			network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			bad := p.invalid(text)
			bad.detail = "not a network: " + e
			return bad
		}
		networks = append(networks, network.Masked())
	}
	*at = networks
	return nil
}
