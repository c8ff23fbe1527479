package stmt

import "bytes"

// Bounds of what is shown to the grammar. The C parser builds a tree as deep as the text nests and its stack is finite, so
// a text whose nesting score is over maxNesting is never handed to it. The score of a text is the sum, over the brackets
// open at a point, of the operators, keywords and brackets since the last comma on that bracket's level; set operations
// nest across commas and count until the bracket closes.
const (
	maxText    = 64 << 10
	maxNesting = 2000
)

// Bits of the first byte of a shape: what facts depend on besides the tokens.
const (
	flagLeadingSpace = 1 << iota
	flagFirstCharOK
	flagNoBalance
	flagUnsure // read differently by a server with other settings, see endOfString
	flagLiteral

	staticFlags = flagLeadingSpace | flagFirstCharOK | flagNoBalance
)

// verdict is what the lexer thinks of a text.
type verdict uint8

const (
	shapeOK       verdict = iota
	shapeEmpty            // no token at all, or only semicolons
	shapeUnparsed         // beyond a bound, or no PostgreSQL scanner would take it
	shapePool             // begins with the word PGPOOL
	shapeKeep             // inner: start again, keeping the literals
	shapeDeep             // inner: score again, telling keywords from names
)

// shape is a reduced text. Its key is the flags and the tokens of the text, blanks and comments collapsed to one blank,
// identifiers folded, literals replaced by two quotes or 1, list items after two equal ones left out if they are equal too.
// The grammar reads the tokens as it would read the text's.
type shape struct {
	verdict verdict
	flags   byte
	// literals: there are literals and they stand in the key.
	literals bool
	// plain: the text has no literals, so it is likely to come again as it is.
	plain bool
	// key is valid until the scratch space is used again.
	key []byte
}

// sql is the part of the key that is shown to the grammar.
func (s *shape) sql() []byte { return s.key[1:] }

// scratch is the space a lexer works in, reused from text to text.
type scratch struct {
	buf    []byte
	levels [maxNesting + 2]level
}

// reduce computes the shape of a text. It does not keep text; the shape's key lives in sc.
func reduce(text []byte, sc *scratch) shape {
	flags := firstCharacter(text)
	if len(text) > maxText || bytes.IndexByte(text, 0) >= 0 {
		return shape{verdict: shapeUnparsed, flags: flags}
	}
	// A text of strings such as b'''' grows by a blank for each five bytes; nothing grows more.
	if need := len(text) + len(text)/4 + 16; cap(sc.buf) < need {
		sc.buf = make([]byte, need+need/2)
	}
	var mode lexMode
	s := lex(text, sc, mode)
	for s.verdict == shapeKeep || s.verdict == shapeDeep {
		switch {
		case s.verdict == shapeKeep:
			mode.keep = true
		case mode.exact:
			s.verdict = shapeUnparsed
			s.flags |= flags
			return s
		default:
			mode.exact = true
		}
		s = lex(text, sc, mode)
	}
	s.flags |= flags
	if s.verdict == shapeOK {
		s.key[0] = s.flags
	}
	return s
}

// noBalanceHint is the comment that sends a SELECT to the primary when it is the very start of the text.
var noBalanceHint = []byte("/*NO LOAD BALANCE*/")

// firstCharacter answers the flags that depend on how a text begins (query-routing section 7).
func firstCharacter(text []byte) (flags byte) {
	i := 0
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	if i > 0 {
		flags |= flagLeadingSpace
	}
	if i == len(text) {
		return flags | flagFirstCharOK
	}
	switch text[i] {
	case 's', 'S', 'w', 'W', 't', 'T', '(', ';':
		flags |= flagFirstCharOK
	case '/':
		if i == 0 && len(text) >= len(noBalanceHint) && bytes.EqualFold(text[:len(noBalanceHint)], noBalanceHint) {
			flags |= flagNoBalance
		}
	}
	return flags
}
