package web

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"gopgpool/cluster"
)

// Lag is how late a standby may be: in bytes, or in time. The zero Lag asks for nothing.
type Lag struct {
	Bytes  cluster.LSN
	Time   time.Duration
	Asked  bool
	ByTime bool
}

var errLag = errors.New(`lag must be a number of bytes (1048576, 16kB, 1MB) or a time (500ms, 5s, 1min)`)

// lagUnits are those of the configuration, in any case; "" is bytes.
func lagUnit(name string) (size float64, byTime, ok bool) {
	switch strings.ToLower(name) {
	case "", "b":
		return 1, false, true
	case "kb":
		return 1 << 10, false, true
	case "mb":
		return 1 << 20, false, true
	case "gb":
		return 1 << 30, false, true
	case "tb":
		return 1 << 40, false, true
	case "ms":
		return float64(time.Millisecond), true, true
	case "s":
		return float64(time.Second), true, true
	case "min":
		return float64(time.Minute), true, true
	case "h":
		return float64(time.Hour), true, true
	}
	return 0, false, false
}

// maxLagText is longer than any sensible lag.
const maxLagText = 32

// ParseLag reads the value of lag=. Text from outside never panics it.
func ParseLag(s string) (Lag, error) {
	if len(s) > maxLagText {
		return Lag{}, errLag
	}
	end := 0
	for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end] == '.') {
		end++
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	size, byTime, ok := lagUnit(strings.TrimSpace(s[end:]))
	if err != nil || !ok || n*size >= 1<<62 {
		return Lag{}, errLag
	}
	if byTime {
		return Lag{Time: time.Duration(n * size), Asked: true, ByTime: true}, nil
	}
	return Lag{Bytes: cluster.LSN(n * size), Asked: true}, nil
}
