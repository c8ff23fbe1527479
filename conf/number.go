package conf

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// The units a value may carry, largest first, with what one of them is in bytes or nanoseconds.
type unit struct {
	name string
	size int64
}

func sizeUnits() []unit {
	return []unit{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}}
}

func timeUnits() []unit {
	return []unit{
		{"d", int64(24 * time.Hour)},
		{"h", int64(time.Hour)},
		{"min", int64(time.Minute)},
		{"s", int64(time.Second)},
		{"ms", int64(time.Millisecond)},
		{"us", int64(time.Microsecond)},
	}
}

const (
	sizeHint = `Valid units for this parameter are "B", "kB", "MB", "GB", and "TB".`
	timeHint = `Valid units for this parameter are "us", "ms", "s", "min", "h", and "d".`
)

// number is a numeral as written: exact where it is an integer.
type number struct {
	whole   int64
	real    float64
	integer bool
}

// splitNumber reads C's notations of a number (decimal, octal with a leading 0, 0x, fraction, exponent) and what follows it
// after blanks.
func splitNumber(s string) (n number, rest string, ok bool) {
	s = strings.TrimSpace(s)
	end := numeralEnd(s)
	text, rest := s[:end], strings.TrimSpace(s[end:])
	i, err := strconv.ParseInt(text, 0, 64)
	if err == nil {
		return number{whole: i, real: float64(i), integer: true}, rest, true
	}
	if !errors.Is(err, strconv.ErrRange) && !strings.ContainsAny(text, ".eE") {
		return number{}, "", false
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return number{}, "", false
	}
	return number{real: f}, rest, true
}

// numeralEnd is the length of the numeral s begins with.
func numeralEnd(s string) int {
	i := 0
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		i++
	}
	if strings.HasPrefix(s[i:], "0x") || strings.HasPrefix(s[i:], "0X") {
		i += 2
		for i < len(s) && isHex(s[i]) {
			i++
		}
		return i
	}
	for dots := 0; i < len(s) && (isDigit(s[i]) || s[i] == '.' && dots == 0); i++ {
		if s[i] == '.' {
			dots++
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if j < len(s) && isDigit(s[j]) {
			for j < len(s) && isDigit(s[j]) {
				j++
			}
			return j
		}
	}
	return i
}

// scaled reads a number with an optional unit and returns it in the parameter's base unit, rounded to the nearest.
func (p *Param) scaled(s string) (int64, *valueError) {
	n, rest, ok := splitNumber(s)
	if !ok {
		return 0, p.invalid(s)
	}
	units, base, hint := p.units()
	factor := base
	if rest != "" {
		factor = unitSize(units, rest)
		if factor == 0 {
			err := p.invalid(s)
			err.hint = hint
			return 0, err
		}
	}
	if n.integer && factor%base == 0 {
		f := factor / base
		if v := n.whole * f; n.whole == 0 || v/n.whole == f {
			return v, nil
		}
	}
	v := math.RoundToEven(n.real * float64(factor) / float64(base))
	if math.Abs(v) >= math.MaxInt64 {
		return 0, p.outside(strings.TrimSpace(s))
	}
	return int64(v), nil
}

// units returns what the parameter's values may carry, and its base unit's size.
func (p *Param) units() (units []unit, base int64, hint string) {
	switch p.Type {
	case TypeSize:
		return sizeUnits(), p.baseSize(), sizeHint
	case TypeDuration:
		return timeUnits(), int64(p.baseDuration()), timeHint
	default:
		return nil, 1, ""
	}
}

func unitSize(units []unit, name string) int64 {
	for _, u := range units {
		if u.name == name {
			return u.size
		}
	}
	return 0
}

// inRange reads a number and checks it against the row's bounds.
func (p *Param) inRange(s string) (int64, *valueError) {
	v, err := p.scaled(s)
	if err != nil {
		return 0, err
	}
	if (v < p.Min || v > p.Max) && (v != 0 || !p.zeroOK) {
		return 0, p.outside(strconv.FormatInt(v, 10))
	}
	return v, nil
}

// withUnit prints v base units in the largest unit that divides it.
func (p *Param) withUnit(v int64) string {
	units, base, _ := p.units()
	if v <= 0 || units == nil {
		return strconv.FormatInt(v, 10)
	}
	for _, u := range units {
		if per := u.size / base; per > 0 && v%per == 0 {
			return strconv.FormatInt(v/per, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10)
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func isHex(b byte) bool {
	return isDigit(b) || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}
