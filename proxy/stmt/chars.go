package stmt

// charClass says what a byte starts when it is met between two tokens.
type charClass uint8

const (
	classOther    charClass = iota // copied, belongs to no rule
	classSpace                     // blank, tab, line ends
	classIdent                     // letters, underscore and every byte above 127
	classDigit                     // 0-9
	classQuote                     // '
	classDouble                    // "
	classDollar                    // $
	classDot                       // .
	classOperator                  // the characters operators are made of, except - and /
	classMinus                     // - or the start of a comment
	classSlash                     // / or the start of a comment
	classOpen                      // ( [
	classClose                     // ) ]
	classComma                     // ,
	classSemi                      // ;
)

// charClasses classifies each byte.
var charClasses = buildClasses()

// foldIdent maps the bytes an identifier may go on with to themselves, upper-case ASCII letters to lower case, and
// everything else to 0.
var foldIdent = buildFold()

func buildClasses() (t [256]charClass) {
	for _, c := range " \t\n\r\f\v" {
		t[c] = classSpace
	}
	for c := range 256 {
		switch {
		case isIdentStart(byte(c)):
			t[c] = classIdent
		case isDigit(byte(c)):
			t[c] = classDigit
		}
	}
	for _, c := range "~!@#^&|`?+*%<>=:" {
		t[c] = classOperator
	}
	t['\''], t['"'], t['$'], t['.'] = classQuote, classDouble, classDollar, classDot
	t['-'], t['/'] = classMinus, classSlash
	t['('], t['['], t[')'], t[']'] = classOpen, classOpen, classClose, classClose
	t[','], t[';'] = classComma, classSemi
	return t
}

func buildFold() (t [256]byte) {
	for c := range 256 {
		switch b := byte(c); {
		case b >= 'A' && b <= 'Z':
			t[c] = b + 'a' - 'A'
		case isIdentStart(b), isDigit(b), b == '$':
			t[c] = b
		}
	}
	return t
}

func isIdentStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isSpace(c byte) bool { return charClasses[c] == classSpace }
