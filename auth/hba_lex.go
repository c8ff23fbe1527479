package auth

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of pool_hba.conf. The first two are Pgpool-II's; the others keep files that include each other finite.
const (
	maxHBAToken    = 255
	maxHBALine     = 8190
	maxHBAIncludes = 10
	maxHBATokens   = 100_000
)

// hbaLine is one line cut into fields, each a list of tokens.
type hbaLine struct {
	number int
	fields [][]Token
}

// hbaReader cuts files into lines of tokens and collects what is wrong with them.
type hbaReader struct {
	open   func(path string) ([]byte, error)
	tokens int
	errs   []error
}

func (r *hbaReader) fail(file string, line int, text string) {
	r.errs = append(r.errs, &HBAError{File: file, Line: line, Text: text})
}

// lines cuts a file into lines and calls each for those that have fields and no error. chain are the files that led
// to this one, itself last.
func (r *hbaReader) lines(chain []string, data []byte, each func(hbaLine)) {
	file, number := chain[len(chain)-1], 0
	for text := range bytes.SplitSeq(data, []byte{'\n'}) {
		number++
		if len(text) > maxHBALine {
			r.fail(file, number, "authentication file line too long")
			continue
		}
		before := len(r.errs)
		line := hbaLine{number: number, fields: r.fields(chain, number, string(text))}
		if len(r.errs) == before && len(line.fields) > 0 {
			each(line)
		}
		if r.tokens > maxHBATokens {
			return
		}
	}
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
			r.fail(file, number, `authentication file token too long, skipping: "`+token.Text[:maxHBAToken]+`"`)
			return field, false
		case !token.Quoted && len(token.Text) > 1 && token.Text[0] == '@':
			field = append(field, r.include(chain, number, token.Text)...)
		default:
			field = append(field, token)
		}
		if !comma {
			return field, true
		}
	}
}

// include gives all tokens of the file behind an @, looked for beside the file that names it.
func (r *hbaReader) include(chain []string, number int, name string) []Token {
	file, path := chain[len(chain)-1], name[1:]
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(file), path)
	}
	var data []byte
	err := errHBANesting
	if len(chain) <= maxHBAIncludes && !slices.Contains(chain, path) {
		data, err = r.open(path)
	}
	if err != nil {
		text := `could not open secondary authentication file "` + name + `" as "` + path + `": ` + err.Error()
		r.fail(file, number, text)
		return nil
	}
	var tokens []Token
	r.lines(append(slices.Clone(chain), path), data, func(line hbaLine) {
		for _, field := range line.fields {
			tokens = append(tokens, field...)
		}
	})
	return tokens
}

var errHBANesting = errors.New("it includes itself, or files are nested too deeply")

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
