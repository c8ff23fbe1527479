package logging

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// maxPrefixWidth bounds %-10a and its like: a typing error must not fill the disk.
const maxPrefixWidth = 1000

// prefix is a compiled log_line_prefix.
type prefix []prefixItem

type prefixItem struct {
	verb  byte // 0: literal
	width int  // negative: pad on the right
	text  string
}

// compilePrefix reads log_line_prefix. Every text is valid: unknown escapes and an unfinished one at the end vanish.
func compilePrefix(s string) prefix {
	var p prefix
	lit := make([]byte, 0, len(s))
	flush := func() {
		if len(lit) > 0 {
			p = append(p, prefixItem{text: string(lit)})
			lit = lit[:0]
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			lit = append(lit, s[i])
			continue
		}
		var width int
		width, i = prefixWidth(s, i+1)
		if i >= len(s) {
			break
		}
		switch s[i] {
		case '%':
			lit = append(lit, '%')
		case 'a', 'p', 'P', 't', 'm', 'd', 'u', 'l':
			flush()
			p = append(p, prefixItem{verb: s[i], width: width})
		}
	}
	flush()
	return p
}

// prefixWidth reads an optional width at s[i:] and returns it with the index of what follows.
func prefixWidth(s string, i int) (width, next int) {
	sign := 1
	if i < len(s) && s[i] == '-' {
		sign = -1
		i++
	}
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		width = min(width*10+int(s[i]-'0'), maxPrefixWidth)
	}
	return sign * width, i
}

// appendTo appends the prefix of one line and counts the line.
func (p prefix) appendTo(b []byte, o *Origin, now time.Time) []byte {
	line := o.lines.Add(1)
	for _, it := range p {
		if it.verb == 0 {
			b = append(b, it.text...)
			continue
		}
		start := len(b)
		b = it.appendValue(b, o, now, line)
		if it.width != 0 {
			b = pad(b, start, it.width)
		}
	}
	return b
}

func (it prefixItem) appendValue(b []byte, o *Origin, now time.Time, line uint64) []byte {
	switch it.verb {
	case 'a':
		return appendName(b, o.App, "[unknown]")
	case 'P':
		return appendName(b, o.ProcessName, "[unknown]")
	case 'd':
		return appendName(b, o.DB, "[No Connection]")
	case 'u':
		return appendName(b, o.User, "[No Connection]")
	case 'p':
		return strconv.AppendInt(b, int64(o.PID), 10)
	case 't':
		return now.AppendFormat(b, "2006-01-02 15:04:05")
	case 'm':
		return now.AppendFormat(b, "2006-01-02 15:04:05.000")
	case 'l':
		return strconv.AppendUint(b, line, 10)
	}
	panic("logging: prefix item " + strconv.Quote(string(it.verb)))
}

// appendName appends a name a client may have chosen: control characters, which could forge lines, become '?'.
func appendName(b []byte, name, none string) []byte {
	if name == "" {
		return append(b, none...)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c < ' ' || c == 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// pad brings b[start:] to |width| characters, with spaces on the left, or on the right if width is negative.
func pad(b []byte, start, width int) []byte {
	left := width > 0
	if !left {
		width = -width
	}
	n := width - utf8.RuneCount(b[start:])
	if n <= 0 {
		return b
	}
	end := len(b)
	for range n {
		b = append(b, ' ')
	}
	if left {
		copy(b[start+n:], b[start:end])
		for i := start; i < start+n; i++ {
			b[i] = ' '
		}
	}
	return b
}
