package stmt

import "bytes"

// The functions here find where a literal or comment ends. All take the text and the offset of its first byte, and answer
// the offset after its last one, or -1 when the text ends too early.

// endOfComment skips a block comment, which may hold others.
func endOfComment(text []byte, i int) int {
	depth := 1
	for i += 2; i+1 < len(text); {
		switch {
		case text[i] == '*' && text[i+1] == '/':
			i += 2
			if depth--; depth == 0 {
				return i
			}
		case text[i] == '/' && text[i+1] == '*':
			depth++
			i += 2
		default:
			i++
		}
	}
	return -1
}

// endOfLine skips a comment up to, not including, its line end.
func endOfLine(text []byte, i int) int {
	for i < len(text) && text[i] != '\n' && text[i] != '\r' {
		i++
	}
	return i
}

// stringForm tells how the inside of a quoted string is read.
type stringForm uint8

const (
	plainString  stringForm = iota // '...', a doubled quote stands for one
	escapeString                   // E'...', backslash escapes besides
	bitString                      // B'...' and X'...', no quote inside
)

// endOfString skips a string; i is the offset of its opening quote. A string goes on after blank space that holds a line
// end. unsure tells that a server could see another end than we do: one with standard_conforming_strings off, or with
// a client encoding where a backslash can be half of a character.
func endOfString(text []byte, i int, form stringForm) (end int, unsure bool) {
	for {
		start := i + 1
		quote := start
		for {
			n := bytes.IndexByte(text[quote:], '\'')
			if n < 0 {
				return -1, unsure
			}
			quote += n
			odd, risky := backslashes(text, start, quote)
			unsure = unsure || risky || odd && form == plainString
			switch {
			case form == escapeString && odd:
				quote++
			case form != bitString && quote+1 < len(text) && text[quote+1] == '\'':
				quote += 2
			default:
				start = -1
			}
			if start < 0 {
				break
			}
			start = quote
		}
		end = quote + 1
		if i = continuation(text, end); i < 0 {
			return end, unsure
		}
	}
}

// backslashes looks at the run of backslashes before the quote at offset i: is its length odd, and does it follow a
// byte that could make a double-byte character of its first backslash?
func backslashes(text []byte, start, i int) (odd, risky bool) {
	n := 0
	for i-1-n >= start && text[i-1-n] == '\\' {
		n++
	}
	return n%2 == 1, n > 0 && i-1-n >= start && text[i-1-n] >= 0x80
}

// continuation answers the offset of the quote that continues the string ended before i, or -1.
func continuation(text []byte, i int) int {
	newline := false
	for i < len(text) {
		switch c := text[i]; {
		case c == '\n' || c == '\r':
			newline = true
			i++
		case isSpace(c):
			i++
		case c == '-' && i+1 < len(text) && text[i+1] == '-':
			i = endOfLine(text, i)
		case c == '\'' && newline:
			return i
		default:
			return -1
		}
	}
	return -1
}

// endOfDollar skips a dollar-quoted string. It answers i itself when no such string begins at i.
func endOfDollar(text []byte, i int) int {
	j := i + 1
	if j < len(text) && isIdentStart(text[j]) {
		for j < len(text) && (isIdentStart(text[j]) || isDigit(text[j])) {
			j++
		}
	}
	if j >= len(text) || text[j] != '$' {
		return i
	}
	tag := text[i : j+1]
	n := bytes.Index(text[j+1:], tag)
	if n < 0 {
		return -1
	}
	return j + 1 + n + len(tag)
}

// endOfQuoted skips a quoted identifier.
func endOfQuoted(text []byte, i int) int {
	for i++; ; i += 2 {
		n := bytes.IndexByte(text[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		if i+1 >= len(text) || text[i+1] != '"' {
			return i + 1
		}
	}
}

// endOfNumber skips a number; i is the offset of its first digit or of a dot before one.
func endOfNumber(text []byte, i int) int {
	end := i
	for end < len(text) && isDigit(text[end]) {
		end++
	}
	if end == len(text) || foldIdent[text[end]] == 0 && text[end] != '.' {
		return end // the common form
	}
	if text[i] == '0' && i+2 < len(text) {
		if end := endOfRadix(text, i); end > 0 {
			return end
		}
	}
	i = endOfDigits(text, i, isDigit)
	if i < len(text) && text[i] == '.' && (i+1 >= len(text) || text[i+1] != '.') {
		i = endOfDigits(text, i+1, isDigit)
	}
	if i < len(text) && text[i]|0x20 == 'e' {
		j := i + 1
		if j < len(text) && (text[j] == '+' || text[j] == '-') {
			j++
		}
		if j < len(text) && isDigit(text[j]) {
			i = endOfDigits(text, j, isDigit)
		}
	}
	return i
}

// endOfRadix skips a number like 0x1f, 0o17 or 0b01; 0 if there is none.
func endOfRadix(text []byte, i int) int {
	var digit func(byte) bool
	switch text[i+1] | 0x20 {
	case 'x':
		digit = func(c byte) bool { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
	case 'o':
		digit = func(c byte) bool { return c >= '0' && c <= '7' }
	case 'b':
		digit = func(c byte) bool { return c == '0' || c == '1' }
	default:
		return 0
	}
	j := i + 2
	if text[j] == '_' && j+1 < len(text) {
		j++
	}
	if !digit(text[j]) {
		return 0
	}
	return endOfDigits(text, j, digit)
}

// endOfDigits skips digits with single underscores between them.
func endOfDigits(text []byte, i int, digit func(byte) bool) int {
	for i < len(text) && (digit(text[i]) || text[i] == '_' && i+1 < len(text) && digit(text[i+1]) && digit(text[i-1])) {
		i++
	}
	return i
}
