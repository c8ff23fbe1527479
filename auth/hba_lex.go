package auth

import (
	"bytes"
	"strings"
)

// Bounds of pool_hba.conf and pool_ident.conf. A token may be as long as a line: regular expressions and LDAP filters are.
// maxHBAIncludes and maxHBATokens
// keep files that include each other finite; the nesting is PostgreSQL's.
const (
	maxHBALine     = 8190
	maxHBAToken    = maxHBALine
	maxHBAIncludes = 10
	maxHBATokens   = 100_000
	shownToken     = 255 // bytes of one that is too long
)

// Files are how a configuration file reaches those it includes.
type Files struct {
	// Read gives the content of a file; its error wraps [fs.ErrNotExist] for one that does not exist.
	Read func(path string) ([]byte, error)

	// List gives the names of a directory's files, in any order and without directories.
	List func(dir string) ([]string, error)
}

// hbaLine is one line, with those that continue it, cut into fields, each a list of tokens.
type hbaLine struct {
	file   string
	number int
	fields [][]Token
}

// hbaReader cuts files into lines of tokens and collects what is wrong with them.
type hbaReader struct {
	files  Files
	tokens int
	errs   []error
}

func (r *hbaReader) fail(file string, line int, text string) {
	r.errs = append(r.errs, &HBAError{File: file, Line: line, Text: text})
}

// lines cuts a file into lines and calls each for those that have fields and no error. chain are the files that led
// to this one, itself last.
func (r *hbaReader) lines(chain []string, data []byte, each func(hbaLine)) {
	scan := lineScanner{data: data}
	for r.tokens <= maxHBATokens {
		text, number, ok := scan.next()
		if !ok {
			return
		}
		line := hbaLine{file: chain[len(chain)-1], number: number}
		if scan.tooLong {
			r.fail(line.file, number, "authentication file line too long")
			continue
		}
		before := len(r.errs)
		line.fields = r.fields(chain, number, text)
		if len(r.errs) == before && len(line.fields) > 0 {
			each(line)
		}
	}
}

// lineScanner joins lines that end with a backslash. One within a comment joins nothing: the next line would vanish.
type lineScanner struct {
	data    []byte
	number  int  // lines taken
	tooLong bool // some part of the line just given
}

// next gives a line with the number of its first part.
func (s *lineScanner) next() (text string, number int, ok bool) {
	number, s.tooLong = s.number+1, false
	var b strings.Builder
	quoted, comment := false, false
	for len(s.data) > 0 {
		part, rest, _ := bytes.Cut(s.data, []byte{'\n'})
		s.data = rest
		s.number++
		s.tooLong = s.tooLong || len(part) > maxHBALine
		part = bytes.TrimRight(part, "\r")
		head, continued := bytes.CutSuffix(part, []byte{'\\'})
		quoted, comment = quoting(head, quoted)
		if s.tooLong || !continued || comment {
			b.Write(part)
			return b.String(), number, true
		}
		b.Write(head)
	}
	return b.String(), number, b.Len() > 0
}

// quoting tells whether a line that begins inside quotes or not ends so, or in a comment.
func quoting(line []byte, quoted bool) (_, comment bool) {
	for _, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case c == '#' && !quoted:
			return quoted, true
		}
	}
	return quoted, false
}

func (r *hbaReader) fields(chain []string, number int, text string) [][]Token {
	var fields [][]Token
	scan := hbaScanner{text: text}
	for {
		field, ok := r.field(&scan, chain, number)
		if !ok {
			return fields
		}
		fields = append(fields, field)
	}
}

// field reads one field: a token, and more while commas join them.
func (r *hbaReader) field(scan *hbaScanner, chain []string, number int) ([]Token, bool) {
	var field []Token
	file, found := chain[len(chain)-1], false
	for {
		token, comma, ok := scan.next()
		if !ok {
			return field, found
		}
		found = true
		r.tokens++
		switch {
		case r.tokens > maxHBATokens:
			r.fail(file, number, "too many tokens in authentication file")
			return field, false
		case len(token.Text) > maxHBAToken:
			r.fail(file, number, `authentication file token too long, skipping: "`+token.Text[:shownToken]+`"`)
			return field, false
		case !token.Quoted && len(token.Text) > 1 && token.Text[0] == '@':
			field = append(field, r.tokensOf(chain, number, token.Text)...)
		default:
			field = append(field, token)
		}
		if !comma {
			return field, true
		}
	}
}

// hbaScanner walks over one line.
type hbaScanner struct {
	text string
	pos  int
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// next reads a token and whether a comma follows it directly. Leading blanks and commas are skipped; a comment, or
// the end of the line, is the end. Quotes may enclose any part; two quotes inside quotes are one.
func (s *hbaScanner) next() (t Token, comma, ok bool) {
	for s.pos < len(s.text) && (blank(s.text[s.pos]) || s.text[s.pos] == ',') {
		s.pos++
	}
	start := s.pos
	var b strings.Builder
	inQuotes := false
	for ; s.pos < len(s.text); s.pos++ {
		c := s.text[s.pos]
		switch {
		case c == '"' && inQuotes && strings.HasPrefix(s.text[s.pos+1:], `"`):
			b.WriteByte(c)
			s.pos++
			continue
		case c == '"':
			inQuotes = !inQuotes
			t.Quoted = t.Quoted || s.pos == start
			continue
		case inQuotes:
		case blank(c):
			return s.token(t, &b, start, false)
		case c == ',':
			return s.token(t, &b, start, true)
		case c == '#':
			end := s.pos
			s.pos = len(s.text)
			t.Text = b.String()
			return t, false, end > start
		}
		b.WriteByte(c)
	}
	return s.token(t, &b, start, false)
}

func (s *hbaScanner) token(t Token, b *strings.Builder, start int, comma bool) (Token, bool, bool) {
	ok := s.pos > start
	if comma {
		s.pos++
	}
	t.Text = b.String()
	return t, comma, ok && (t.Quoted || t.Text != "")
}
