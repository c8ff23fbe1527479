package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// RememberedSyncNames is the custom setting of a server that keeps what an administrator had set as synchronous_standby_names while
// something weaker is in force. It outlives a promotion.
const RememberedSyncNames = "pgpool.synchronous_standby_names"

// SyncMethod is how the standbys that a commit waits for are chosen among those named.
type SyncMethod uint8

// Methods of synchronous_standby_names.
const (
	SyncNone  SyncMethod = iota // the setting is empty: a commit waits for nobody
	SyncFirst                   // for the first Num that stream, in the order of Names
	SyncAny                     // for any Num
)

// SyncNames is a server's synchronous_standby_names. It is a value; Names is never changed.
type SyncNames struct {
	Method SyncMethod
	Num    int      // how many standbys a commit waits for, at least 1; 0 with SyncNone
	Names  []string // as written, without quotes; "*" is every standby
}

// maxSyncNames bounds the text: the server's own setting fits in it, and nobody else writes one.
const maxSyncNames = 1 << 20

// ParseSyncNames reads the setting as the server does (PostgreSQL: synchronous_standby_names): names and quoted names, * , N (names),
// FIRST N (names) and ANY N (names). A number may be a name, FIRST and ANY only in quotes. A list without a number waits for one.
func ParseSyncNames(text string) (SyncNames, error) {
	if text == "" {
		return SyncNames{}, nil
	}
	if len(text) > maxSyncNames {
		return SyncNames{}, errors.New("cluster: synchronous_standby_names is too long")
	}
	p := syncParser{rest: text}
	s, err := p.setting()
	if err != nil {
		return SyncNames{}, fmt.Errorf("cluster: synchronous_standby_names %q: %w", text, err)
	}
	return s, nil
}

// Empty reports whether commits wait for nobody.
func (s SyncNames) Empty() bool { return s.Method == SyncNone }

// Has reports whether a standby that streams under the name may be one that commits wait for. The case of ASCII letters makes no
// difference.
func (s SyncNames) Has(name string) bool {
	for _, n := range s.Names {
		if n == "*" || lowerASCII(n) == lowerASCII(name) {
			return true
		}
	}
	return false
}

// lowerASCII folds as the server compares names; Unicode's folding would take more names for equal.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Members returns the indexes of those standbys that commits may have waited for; names are those they stream under.
func (s SyncNames) Members(standbys []string) []int {
	var members []int
	for i, name := range standbys {
		if s.Has(name) {
			members = append(members, i)
		}
	}
	return members
}

// Needed tells how many of the Members must be asked so that the best of them holds every commit that was acknowledged under this
// setting by primary, the name the server itself has as a standby: Num of M have each commit, whichever they were, so any M-Num+1 hold
// among them one that has it. One of the Strangers may have been one of them and counts to M; hence it may be more than there are Members, and then nobody can know. 0: commits waited for nobody.
//
// FIRST is no better than ANY here: which standbys were the first was different while one of them was away.
func (s SyncNames) Needed(primary string, standbys []string) int {
	if s.Empty() {
		return 0
	}
	return max(len(s.Members(standbys))+len(s.Strangers(primary, standbys))-s.Num+1, 1)
}

// Strangers lists the names that are neither the primary's nor a known standby's.
func (s SyncNames) Strangers(primary string, standbys []string) []string {
	var strangers []string
	for _, n := range s.Names {
		alone := SyncNames{Method: SyncAny, Num: 1, Names: []string{n}}
		if !alone.Has(primary) && len(alone.Members(standbys)) == 0 {
			strangers = append(strangers, n)
		}
	}
	return strangers
}

// String writes the setting in a form that the server reads as this one. All names are quoted.
func (s SyncNames) String() string {
	if s.Empty() {
		return ""
	}
	quoted := make([]string, len(s.Names))
	for i, n := range s.Names {
		quoted[i] = `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
		if n == "*" {
			quoted[i] = n
		}
	}
	word := "FIRST"
	if s.Method == SyncAny {
		word = "ANY"
	}
	return word + " " + strconv.Itoa(s.Num) + " (" + strings.Join(quoted, ", ") + ")"
}

// syncToken is a word of the setting: its kind is one of the bytes , ( ) or
type syncToken struct {
	kind byte
	text string
}

const (
	tokenEnd    = 'e'
	tokenName   = 'n'
	tokenNumber = '0'
	tokenFirst  = 'F'
	tokenAny    = 'A'
)

type syncParser struct {
	rest string
	tok  syncToken
}

func (p *syncParser) setting() (SyncNames, error) {
	if err := p.next(); err != nil {
		return SyncNames{}, err
	}
	s := SyncNames{Method: SyncFirst, Num: 1}
	switch first := p.tok; first.kind {
	case tokenFirst, tokenAny:
		if first.kind == tokenAny {
			s.Method = SyncAny
		}
		if err := p.next(); err != nil {
			return SyncNames{}, err
		}
		if p.tok.kind != tokenNumber {
			return SyncNames{}, errors.New("a number must follow " + strings.ToUpper(first.text))
		}
		return p.counted(s, p.tok.text)
	case tokenNumber:
		// Only what comes next tells a count from a name.
		save := *p
		if err := p.next(); err != nil {
			return SyncNames{}, err
		}
		if p.tok.kind == '(' {
			return p.bracketed(s, first.text)
		}
		*p = save
	}
	names, err := p.list(tokenEnd)
	s.Names = names
	return s, err
}

// counted reads N ( list ); the number is the word in hand.
func (p *syncParser) counted(s SyncNames, number string) (SyncNames, error) {
	if err := p.next(); err != nil {
		return SyncNames{}, err
	}
	if p.tok.kind != '(' {
		return SyncNames{}, errors.New("a list in parentheses must follow the number")
	}
	return p.bracketed(s, number)
}

// bracketed reads a list from its opening parenthesis to the end.
func (p *syncParser) bracketed(s SyncNames, number string) (SyncNames, error) {
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n <= 0 {
		return SyncNames{}, fmt.Errorf("number of synchronous standbys (%s) must be greater than zero and fit in 31 bits", number)
	}
	s.Num = int(n)
	if err := p.next(); err != nil {
		return SyncNames{}, err
	}
	if s.Names, err = p.list(')'); err != nil {
		return SyncNames{}, err
	}
	if err := p.next(); err != nil {
		return SyncNames{}, err
	}
	if p.tok.kind != tokenEnd {
		return SyncNames{}, errors.New("something follows the list")
	}
	return s, nil
}

// list reads names up to the word end; the first name is the word in hand.
func (p *syncParser) list(end byte) ([]string, error) {
	var names []string
	for {
		if p.tok.kind != tokenName && p.tok.kind != tokenNumber {
			return nil, errors.New("a name is missing")
		}
		names = append(names, p.tok.text)
		if err := p.next(); err != nil {
			return nil, err
		}
		if p.tok.kind == end {
			return names, nil
		}
		if p.tok.kind != ',' {
			return nil, errors.New("a comma is missing")
		}
		if err := p.next(); err != nil {
			return nil, err
		}
	}
}

// next takes the next word in hand.
func (p *syncParser) next() error {
	p.rest = strings.TrimLeft(p.rest, " \t\n\r\f\v")
	if p.rest == "" {
		p.tok = syncToken{kind: tokenEnd}
		return nil
	}
	switch c := p.rest[0]; {
	case c == ',' || c == '(' || c == ')':
		p.take(c, 1)
	case c == '*':
		p.take(tokenName, 1)
	case c == '"':
		return p.quoted()
	case isDigit(c):
		p.take(tokenNumber, span(p.rest, isDigit))
	case identStart(c):
		p.take(tokenName, span(p.rest, func(c byte) bool { return identStart(c) || isDigit(c) || c == '$' }))
		switch strings.ToLower(p.tok.text) {
		case "any":
			p.tok.kind = tokenAny
		case "first":
			p.tok.kind = tokenFirst
		}
	default:
		return fmt.Errorf("unexpected %q", c)
	}
	return nil
}

func (p *syncParser) take(kind byte, n int) {
	p.tok, p.rest = syncToken{kind: kind, text: p.rest[:n]}, p.rest[n:]
}

// quoted reads a name in double quotes, in which a quote is doubled.
func (p *syncParser) quoted() error {
	var name strings.Builder
	for i := 1; i < len(p.rest); i++ {
		if p.rest[i] != '"' {
			name.WriteByte(p.rest[i])
			continue
		}
		if i+1 < len(p.rest) && p.rest[i+1] == '"' {
			name.WriteByte('"')
			i++
			continue
		}
		p.tok, p.rest = syncToken{kind: tokenName, text: name.String()}, p.rest[i+1:]
		return nil
	}
	return errors.New("unterminated quoted name")
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func identStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

// span is how many of the first bytes of s are in the class.
func span(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}
