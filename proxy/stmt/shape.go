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
// identifiers folded, literals replaced by two quotes or 1. Tokens are such that the grammar reads them as it would read the text.
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

// level is what is counted of one open bracket's inside.
type level struct{ run, sticky int32 }

// lexMode says how to read.
type lexMode struct {
	keep  bool // keep literals
	exact bool // count only keywords, not all identifiers
}

// reduce computes the shape of a text. It does not keep text; the shape's key lives in sc.
func reduce(text []byte, sc *scratch) shape {
	flags := firstCharacter(text)
	if len(text) > maxText {
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

// lex is the one pass over a text: tokens into sc.buf, nesting score on the way.
func lex(text []byte, sc *scratch, mode lexMode) shape {
	buf := sc.buf[:cap(sc.buf)]
	buf[0] = 0
	var (
		w        = 1 // next byte of buf; buf[0] is for the flags
		depth    = 0 // open brackets
		total    = int32(0)
		run      = int32(0) // counted on this level since its last comma
		sticky   = int32(0) // counted on this level for good
		literals = 0
		flags    = byte(0)
		prevOp   = -1 // offset after the last operator character
	)
	if mode.keep {
		flags = flagLiteral
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch charClasses[c] {
		case classSpace:
			i++
			if buf[w-1] != ' ' && w > 1 {
				buf[w] = ' '
				w++
			}

		case classIdent:
			start := w
			for i < len(text) {
				f := foldIdent[text[i]]
				if f == 0 {
					break
				}
				buf[w] = f
				w++
				i++
			}
			if start == 1 {
				switch firstWord(buf[start:w], text[i:]) {
				case shapePool:
					return shape{verdict: shapePool}
				case shapeKeep:
					mode.keep, flags = true, flagLiteral
				}
			}
			counts := int32(1)
			switch w - start {
			case 1:
				if i < len(text) && text[i] == '\'' {
					if form := prefixForm(buf[start]); form != plainString {
						end, unsure := endOfString(text, i, form)
						if end < 0 {
							return shape{verdict: shapeUnparsed}
						}
						if unsure {
							flags |= flagUnsure
							if !mode.keep {
								return shape{verdict: shapeKeep}
							}
						}
						literals++
						switch {
						case mode.keep:
							w += copy(buf[w:], text[i:end])
						case form == escapeString:
							w = putString(buf, start, true)
						default:
							buf[w], buf[w+1] = '\'', '\''
							w += 2
						}
						i = end
						continue
					}
				}
				if !mode.keep && buf[start] == 'u' && i+1 < len(text) && text[i] == '&' && (text[i+1] == '\'' || text[i+1] == '"') {
					return shape{verdict: shapeKeep}
				}
			case 5, 6, 9:
				if isSetOperation(buf[start:w]) {
					counts = 0
					sticky++
					total++
				}
			case len(nameSetConfig), len(nameTerminate):
				if !mode.keep && literalsMatter(buf[start:w]) {
					return shape{verdict: shapeKeep}
				}
			}
			if mode.exact && counts > 0 && !isKeyword(string(buf[start:w])) {
				counts = 0
			}
			run += counts
			if total += counts; total > maxNesting {
				return shape{verdict: shapeDeep}
			}

		case classDigit:
			end := endOfNumber(text, i)
			if mode.keep {
				w += copy(buf[w:], text[i:end])
			} else {
				w = putNumber(buf, w)
			}
			literals++
			i = end

		case classQuote:
			end, unsure := endOfString(text, i, plainString)
			if end < 0 {
				return shape{verdict: shapeUnparsed}
			}
			if unsure {
				flags |= flagUnsure
				if !mode.keep {
					return shape{verdict: shapeKeep}
				}
			}
			if mode.keep {
				w += copy(buf[w:], text[i:end])
			} else {
				w = putString(buf, w, false)
			}
			literals++
			i = end

		case classDouble:
			end := endOfQuoted(text, i)
			if end < 0 {
				return shape{verdict: shapeUnparsed}
			}
			if !mode.keep && literalsMatter(text[i+1:end-1]) {
				return shape{verdict: shapeKeep}
			}
			w += copy(buf[w:], text[i:end])
			i = end

		case classDollar:
			if i+1 < len(text) && isDigit(text[i+1]) {
				end := endOfDigits(text, i+1, isDigit)
				w += copy(buf[w:], text[i:end])
				i = end
				continue
			}
			end := endOfDollar(text, i)
			switch {
			case end < 0:
				return shape{verdict: shapeUnparsed}
			case end == i: // a lone dollar
				buf[w] = c
				w++
				i++
				continue
			case mode.keep:
				w += copy(buf[w:], text[i:end])
			default:
				w = putString(buf, w, true)
			}
			literals++
			i = end

		case classDot:
			switch {
			case i+1 < len(text) && isDigit(text[i+1]):
				end := endOfNumber(text, i)
				if mode.keep {
					w += copy(buf[w:], text[i:end])
				} else {
					w = putNumber(buf, w)
				}
				literals++
				i = end
			case i+1 < len(text) && text[i+1] == '.':
				buf[w], buf[w+1] = '.', '.'
				w += 2
				i += 2
			default:
				buf[w] = '.'
				w++
				i++
			}

		case classMinus, classSlash:
			if i+1 < len(text) {
				end := i
				switch {
				case c == '-' && text[i+1] == '-':
					end = endOfLine(text, i)
				case c == '/' && text[i+1] == '*':
					end = endOfComment(text, i)
				}
				if end < 0 {
					return shape{verdict: shapeUnparsed}
				}
				if end > i {
					i = end
					if buf[w-1] != ' ' && w > 1 {
						buf[w] = ' '
						w++
					}
					continue
				}
			}
			fallthrough

		case classOperator:
			buf[w] = c
			w++
			if prevOp != i || !mode.exact || c == '-' || c == '+' {
				run++
				if total++; total > maxNesting {
					return shape{verdict: shapeDeep}
				}
			}
			i++
			prevOp = i

		case classOpen:
			buf[w] = c
			w++
			i++
			if total++; total > maxNesting {
				return shape{verdict: shapeDeep}
			}
			sc.levels[depth] = level{run + 1, sticky}
			depth++
			run, sticky = 0, 0

		case classClose:
			buf[w] = c
			w++
			i++
			if depth > 0 {
				depth--
				total -= run + sticky
				run, sticky = sc.levels[depth].run, sc.levels[depth].sticky
			}

		case classComma:
			buf[w] = c
			w++
			i++
			total -= run
			run = 0

		case classSemi:
			i++
			if w == 1 {
				continue
			}
			buf[w] = c
			w++
			total -= run + sticky
			run, sticky = 0, 0

		case classNul:
			return shape{verdict: shapeUnparsed}

		default:
			buf[w] = c
			w++
			i++
		}
	}
	for w > 1 && (buf[w-1] == ' ' || buf[w-1] == ';') {
		w--
	}
	if w == 1 {
		return shape{verdict: shapeEmpty}
	}
	if literals == 0 {
		flags &^= flagLiteral
	}
	return shape{
		flags:    flags,
		literals: literals > 0 && mode.keep,
		plain:    literals == 0,
		key:      buf[:w],
	}
}

// putString writes the marker of a string. apart asks for a blank before it, for strings whose own first byte was not a
// quote and which therefore could melt with what stands before.
func putString(buf []byte, w int, apart bool) int {
	if buf[w-1] == '\'' || apart && buf[w-1] != ' ' && w > 1 {
		buf[w] = ' '
		w++
	}
	buf[w], buf[w+1] = '\'', '\''
	return w + 2
}

// putNumber writes the marker of a number.
func putNumber(buf []byte, w int) int {
	if foldIdent[buf[w-1]] != 0 {
		buf[w] = ' '
		w++
	}
	buf[w] = '1'
	return w + 1
}

// prefixForm tells what a one-letter word directly before a quote makes of the string.
func prefixForm(letter byte) stringForm {
	switch letter {
	case 'e':
		return escapeString
	case 'b', 'x':
		return bitString
	}
	return plainString
}

const (
	nameSetConfig = "set_config"
	nameTerminate = "pg_terminate_backend"
)

// literalsMatter names the functions whose constant arguments are facts.
func literalsMatter(name []byte) bool {
	return string(name) == nameSetConfig || string(name) == nameTerminate
}

// isSetOperation tells the words that chain SELECTs.
func isSetOperation(word []byte) bool {
	switch string(word) {
	case "union", "except", "intersect":
		return true
	}
	return false
}

// firstWord decides by the first word of a text, folded, whether facts depend on literals. rest is what follows it.
func firstWord(word, rest []byte) verdict {
	switch string(word) {
	case "select", "insert", "update", "delete", "with", "values", "table", "merge", "execute", "prepare",
		"declare", "fetch", "move", "do", "call":
		return shapeOK
	case "explain": // options in brackets may be literals
		if len(rest) > 1 && isSpace(rest[0]) && isIdentStart(rest[1]) {
			return shapeOK
		}
	case "pgpool":
		return shapePool
	}
	return shapeKeep
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
