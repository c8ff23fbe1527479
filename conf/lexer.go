package conf

import "strings"

// statement is one "name = value" of a file.
type statement struct {
	name  string
	value string
	line  int
}

// syntaxError says where a file could not be read.
type syntaxError struct {
	line  int
	token string
	hint  string
}

// lexer splits the text of a file. Several statements may stand on a line, but name and value must stand on the same one.
type lexer struct {
	text string
	pos  int
	line int
}

// lex reads a whole file. After an error it goes on with the next line, so all errors are found at once.
func lex(text string) ([]statement, []syntaxError) {
	l := lexer{text: text, line: 1}
	var statements []statement
	var errs []syntaxError
	for l.skipToName() {
		s, err := l.statement()
		if err != nil {
			errs = append(errs, *err)
			l.skipLine()
			continue
		}
		statements = append(statements, s)
	}
	return statements, errs
}

// skipToName passes blanks, comments and line ends; false at the end of the text.
func (l *lexer) skipToName() bool {
	for l.pos < len(l.text) {
		switch l.text[l.pos] {
		case '\n':
			l.line++
			l.pos++
		case ' ', '\t', '\r':
			l.pos++
		case '#':
			l.skipLine()
		default:
			return true
		}
	}
	return false
}

// skipLine stops before the line end, so that it is counted.
func (l *lexer) skipLine() {
	end := strings.IndexByte(l.text[l.pos:], '\n')
	if end < 0 {
		l.pos = len(l.text)
		return
	}
	l.pos += end
}

func (l *lexer) skipBlanks() {
	for l.pos < len(l.text) && strings.IndexByte(" \t\r", l.text[l.pos]) >= 0 {
		l.pos++
	}
}

func (l *lexer) statement() (statement, *syntaxError) {
	s := statement{line: l.line}
	if !isLetter(l.text[l.pos]) {
		return s, l.fail(l.text[l.pos:l.pos+1], "a parameter name was expected")
	}
	s.name = l.take(func(b byte) bool { return isLetter(b) || isDigit(b) })
	l.skipBlanks()
	if l.pos < len(l.text) && l.text[l.pos] == '=' {
		l.pos++
		l.skipBlanks()
	}
	value, err := l.value(s.name)
	s.value = value
	return s, err
}

func (l *lexer) value(name string) (string, *syntaxError) {
	if l.pos == len(l.text) || l.text[l.pos] == '\n' || l.text[l.pos] == '#' {
		return "", l.fail(name, "the value is missing")
	}
	switch b := l.text[l.pos]; {
	case b == '\'':
		return l.quoted()
	case isLetter(b):
		return l.bare(l.take(func(b byte) bool { return isLetter(b) || isDigit(b) || strings.IndexByte("-._:/", b) >= 0 }))
	case b == '*':
		l.pos++
		return l.bare("*")
	case isDigit(b) || strings.IndexByte("+-.", b) >= 0:
		return l.bare(l.numeral())
	default:
		return "", l.fail(l.text[l.pos:l.pos+1], "put the value in single quotes")
	}
}

// quoted reads '...'. A backslash protects the next character and stays.
func (l *lexer) quoted() (string, *syntaxError) {
	start := l.pos + 1
	for i := start; i < len(l.text) && l.text[i] != '\n'; i++ {
		switch l.text[i] {
		case '\'':
			l.pos = i + 1
			return l.text[start:i], nil
		case '\\':
			if i+1 < len(l.text) && l.text[i+1] != '\n' {
				i++
			}
		}
	}
	return "", l.fail("'", "the closing quote is missing on this line")
}

// numeral reads a number and the letters that follow it, its unit.
func (l *lexer) numeral() string {
	start := l.pos
	l.pos += numeralEnd(l.text[l.pos:])
	if !strings.ContainsAny(l.text[start:l.pos], ".xX") {
		// An exponent needs a fraction: in 1e2 the number ends before the e.
		if e := strings.IndexAny(l.text[start:l.pos], "eE"); e >= 0 {
			l.pos = start + e
		}
	}
	l.take(isLetter)
	return l.text[start:l.pos]
}

// bare accepts an unquoted value if it ends where a value may end.
func (l *lexer) bare(value string) (string, *syntaxError) {
	if l.pos < len(l.text) && strings.IndexByte(" \t\r\n#", l.text[l.pos]) < 0 {
		return "", l.fail(value+l.text[l.pos:l.pos+1], "put the value in single quotes")
	}
	return value, nil
}

func (l *lexer) take(belongs func(byte) bool) string {
	start := l.pos
	for l.pos < len(l.text) && belongs(l.text[l.pos]) {
		l.pos++
	}
	return l.text[start:l.pos]
}

func (l *lexer) fail(token, hint string) *syntaxError {
	return &syntaxError{line: l.line, token: token, hint: hint}
}

func isLetter(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b == '_' || b >= 0x80
}
