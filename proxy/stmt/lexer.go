package stmt

import "bytes"

// lexMode says how to read.
type lexMode struct {
	keep  bool // keep literals
	exact bool // count only keywords as such, not all unquoted words
}

// level is what is known of one bracket's inside.
type level struct {
	run    int32 // nesting score since the last comma
	sticky int32 // nesting score that counts until the bracket closes

	item  int32 // where in buf the list item being read begins
	prev  int32 // where the one before it begins, a comma between them; 0 if there is none
	equal int32 // how many items before the current one repeat their predecessor
}

// lexer makes one pass over a text: its tokens go into buf, its nesting score is taken on the way.
type lexer struct {
	lexMode
	text []byte
	pos  int
	buf  []byte
	w    int // bytes written; buf[0] is for the flags

	flags    byte
	stop     verdict // not shapeOK ends the pass
	literals int

	operatorEnd int // offset after the last operator character
	numberEnd   int // where in buf the marker of a number ends

	level
	total  int32 // score of all open levels
	depth  int
	levels *[maxNesting + 2]level
}

// lex computes the shape of a text in one pass, its flags without those of its start.
func lex(text []byte, sc *scratch, mode lexMode) shape {
	l := lexer{lexMode: mode, text: text, buf: sc.buf[:cap(sc.buf)], w: 1, operatorEnd: -1, levels: &sc.levels}
	l.buf[0] = 0
	l.item = 1
	for l.pos < len(text) && l.stop == shapeOK {
		switch c := text[l.pos]; charClasses[c] {
		case classSpace:
			l.pos++
			l.blank()
		case classIdent:
			l.word()
		case classDigit:
			l.number()
		case classQuote:
			l.quoted(plainString)
		case classDouble:
			l.quotedName()
		case classDollar:
			l.dollar()
		case classDot:
			l.dot()
		case classMinus, classSlash:
			if !l.comment(c) {
				l.operator(c)
			}
		case classOperator:
			l.operator(c)
		case classOpen:
			l.open(c)
		case classClose:
			l.close(c)
		case classComma:
			l.comma()
		case classSemi:
			l.semicolon()
		default:
			l.put(c)
		}
	}
	return l.result()
}

// result ends the pass.
func (l *lexer) result() shape {
	if l.stop != shapeOK {
		return shape{verdict: l.stop}
	}
	w := l.w
	for w > 1 && (l.buf[w-1] == ' ' || l.buf[w-1] == ';') {
		w--
	}
	if w == 1 {
		return shape{verdict: shapeEmpty}
	}
	s := shape{flags: l.flags, plain: l.literals == 0, literals: l.literals > 0 && l.keep, key: l.buf[:w]}
	if s.literals {
		s.flags |= flagLiteral
	}
	return s
}

// put copies one byte of the text.
func (l *lexer) put(c byte) {
	l.buf[l.w] = c
	l.w++
	l.pos++
}

// copyTo copies the text up to end.
func (l *lexer) copyTo(end int) {
	l.w += copy(l.buf[l.w:], l.text[l.pos:end])
	l.pos = end
}

// blank writes one blank between tokens, none at the start of a list.
func (l *lexer) blank() {
	switch l.buf[l.w-1] {
	case 0, ' ', ',', '(':
	default:
		l.buf[l.w] = ' '
		l.w++
	}
}

// trim takes back a blank before a comma or closing bracket.
func (l *lexer) trim() {
	if l.buf[l.w-1] == ' ' {
		l.w--
	}
}

// count adds to the nesting score.
func (l *lexer) count() {
	l.run++
	l.raise()
}

func (l *lexer) raise() {
	if l.total++; l.total > maxNesting {
		l.stop = shapeDeep
	}
}

// word reads an unquoted identifier or keyword, or a string with a letter before its quote.
func (l *lexer) word() {
	rest, n := l.text[l.pos:], 0
	word := l.buf[l.w:][:len(rest)]
	for n < len(rest) {
		f := foldIdent[rest[n]]
		if f == 0 {
			break
		}
		word[n] = f
		n++
	}
	word, rest = word[:n], rest[n:]
	first := l.w == 1
	l.pos += n
	l.w += n
	if first {
		switch l.stop = firstWord(word, rest); l.stop {
		case shapePool:
			return
		case shapeKeep: // nothing was read yet that would have to be kept
			l.keep, l.stop = true, shapeOK
		}
	}
	switch len(word) {
	case 1:
		if len(rest) > 0 && (rest[0] == '\'' || rest[0] == '&') && l.prefix(word[0]) {
			return
		}
	case 5, 6, 9:
		if isSetOperation(word) {
			l.sticky++
			l.raise()
			return
		}
	case len(nameSetConfig), len(nameTerminate), len(nameCancel):
		l.name(word)
	}
	if l.exact && !isKeyword(string(word)) {
		return
	}
	l.count()
}

// prefix handles a letter directly before a quote or an ampersand; true if a string was read.
func (l *lexer) prefix(letter byte) bool {
	if l.text[l.pos] == '&' {
		if !l.keep && letter == 'u' && l.pos+1 < len(l.text) && (l.text[l.pos+1] == '\'' || l.text[l.pos+1] == '"') {
			l.stop = shapeKeep // U&'...' or U&"...": escapes could spell anything
		}
		return false
	}
	switch letter {
	case 'e':
		if !l.keep {
			l.w-- // the marker of a string has no prefix
		}
		l.quoted(escapeString)
	case 'b', 'x':
		l.quoted(bitString)
	default:
		return false
	}
	return true
}

// quoted reads a string from its opening quote.
func (l *lexer) quoted(form stringForm) {
	end, unsure := endOfString(l.text, l.pos, form)
	switch {
	case end < 0:
		l.stop = shapeUnparsed
		return
	case unsure && !l.keep:
		l.stop = shapeKeep
		return
	case unsure:
		l.flags |= flagUnsure
	}
	l.literal(end, form)
}

// literal writes the string that ends at end, or its marker.
func (l *lexer) literal(end int, form stringForm) {
	l.literals++
	if l.keep {
		l.copyTo(end)
		return
	}
	// A marker must not melt with what stands before it. Only a plain string began with a quote in the text too; and a
	// bit string has its letter before it.
	if form == escapeString || form == plainString && l.buf[l.w-1] == '\'' {
		l.blank()
	}
	l.buf[l.w], l.buf[l.w+1] = '\'', '\''
	l.w += 2
	l.pos = end
}

// dollar reads a parameter or a dollar-quoted string.
func (l *lexer) dollar() {
	if i := l.pos + 1; i < len(l.text) && isDigit(l.text[i]) {
		for i < len(l.text) && isDigit(l.text[i]) {
			i++
		}
		l.copyTo(i)
		return
	}
	switch end := endOfDollar(l.text, l.pos); end {
	case -1:
		l.stop = shapeUnparsed
	case l.pos:
		l.put('$')
	default:
		l.literal(end, escapeString)
	}
}

// number reads a number from its first digit, or a dot before that.
func (l *lexer) number() {
	l.literals++
	end := endOfNumber(l.text, l.pos)
	if l.keep {
		l.copyTo(end)
		return
	}
	if foldIdent[l.buf[l.w-1]] != 0 { // 1.5.5 are two numbers
		l.blank()
	}
	l.buf[l.w] = '1'
	l.w++
	l.pos, l.numberEnd = end, l.w
}

// dot reads a dot, two dots, or a number.
func (l *lexer) dot() {
	next := byte(0)
	if l.pos+1 < len(l.text) {
		next = l.text[l.pos+1]
	}
	switch {
	case isDigit(next):
		l.number()
	case next == '.':
		l.copyTo(l.pos + 2)
	default:
		if l.w == l.numberEnd { // the dot after 1.5 is not part of the marker
			l.blank()
		}
		l.put('.')
	}
}

// quotedName reads a quoted identifier.
func (l *lexer) quotedName() {
	end := endOfQuoted(l.text, l.pos)
	if end < 0 {
		l.stop = shapeUnparsed
		return
	}
	l.name(l.text[l.pos+1 : end-1])
	l.copyTo(end)
}

// name looks for the functions whose arguments are facts.
func (l *lexer) name(name []byte) {
	if !l.keep && (string(name) == nameSetConfig || string(name) == nameTerminate || string(name) == nameCancel) {
		l.stop = shapeKeep
	}
}

// comment skips a comment that begins with c; false if none does here.
func (l *lexer) comment(c byte) bool {
	if l.pos+1 >= len(l.text) {
		return false
	}
	end := 0
	switch next := l.text[l.pos+1]; {
	case c == '-' && next == '-':
		end = endOfLine(l.text, l.pos)
	case c == '/' && next == '*':
		end = endOfComment(l.text, l.pos)
	default:
		return false
	}
	if end < 0 {
		l.stop = shapeUnparsed
		return true
	}
	l.pos = end
	l.blank()
	return true
}

// operator copies a character of an operator. Where the score is exact, a run of them counts once, but for signs, of
// which each may be an operator.
func (l *lexer) operator(c byte) {
	first := l.operatorEnd != l.pos
	l.put(c)
	l.operatorEnd = l.pos
	if first || !l.exact || c == '-' || c == '+' {
		l.count()
	}
}

func (l *lexer) open(c byte) {
	l.put(c)
	if l.count(); l.stop != shapeOK {
		return
	}
	l.levels[l.depth] = l.level // the score bounds the depth
	l.depth++
	l.level = level{item: int32(l.w)}
}

func (l *lexer) close(c byte) {
	l.trim()
	if l.repeats() {
		l.w = int(l.item) - 1
	}
	l.put(c)
	if l.depth == 0 { // no such bracket was open
		l.prev, l.item = 0, int32(l.w)
		return
	}
	l.depth--
	l.total -= l.run + l.sticky
	l.level = l.levels[l.depth]
}

func (l *lexer) comma() {
	l.total -= l.run
	l.run = 0
	l.trim()
	if l.repeats() {
		l.w = int(l.item)
		l.pos++
		return
	}
	l.put(',')
	l.prev, l.item = l.item, int32(l.w)
}

// repeats ends a list item and tells whether it is the third or a later one of a row of equal items. Such items are left
// out of the shape, so that IN lists and VALUES of any length share one: nothing in the facts depends on their number.
func (l *lexer) repeats() bool {
	if l.prev == 0 || l.keep || int32(l.w)-l.item != l.item-1-l.prev || !bytes.Equal(l.buf[l.item:l.w], l.buf[l.prev:l.item-1]) {
		l.equal = 0
		return false
	}
	l.equal++
	return l.equal > 1
}

func (l *lexer) semicolon() {
	if l.w == 1 {
		l.pos++
		return
	}
	l.put(';')
	l.total -= l.run + l.sticky
	l.level = level{item: int32(l.w)}
}

const (
	nameSetConfig = "set_config"
	nameTerminate = "pg_terminate_backend"
	nameCancel    = "pg_cancel_backend"
)

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
