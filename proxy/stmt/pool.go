package stmt

import "strings"

// isPoolShow tells the names SHOW is answered for by the proxy (sql-interface section 1).
func isPoolShow(name string) bool {
	switch name {
	case "pool_status", "pool_nodes", "pool_processes", "pool_pools", "pool_version", "pool_cache",
		"pool_health_check_stats", "pool_backend_stats", "pool_watchdog", "pool_sessions", "pool_queues", "pool_hba", "pool_ident":
		return true
	}
	return false
}

// poolFacts reads a text that begins with the word PGPOOL; nil if it is not one of the commands.
func poolFacts(text []byte) *Facts {
	p := poolScanner{text: text}
	p.next() // PGPOOL
	at := p.pos
	cmd := p.command()
	if cmd == nil {
		p.pos = at
		verb := p.word()
		if cmd = malformed(verb); cmd == nil {
			return nil
		}
		p.pos = len(p.text)
	}
	return &Facts{Kind: KindPool, Pool: cmd, FirstCharOK: true, ReadOnly: true, Multi: p.more()}
}

// poolToken is a token of a PGPOOL command.
type poolToken struct {
	kind  poolKind
	value string // folded word, unquoted name, contents of a string, text of a number or sign
}

type poolKind uint8

const (
	poolEnd    poolKind = iota // end of text, semicolon, or something that cannot be read
	poolWord                   // unquoted word
	poolName                   // quoted name
	poolString                 // string
	poolNumber                 // number
	poolSign                   // any other byte
)

// poolScanner reads the tokens of a PGPOOL command. Such commands are rare and short: it allocates.
type poolScanner struct {
	text []byte
	pos  int
	bad  bool
}

// command reads what follows PGPOOL.
func (p *poolScanner) command() *PoolCommand {
	var cmd *PoolCommand
	switch verb := p.word(); verb {
	case "show", "reset":
		if name := p.name(); name != "" {
			cmd = &PoolCommand{Verb: verb, Name: name}
		}
	case "set":
		cmd = p.set()
	case "explain":
		if p.word() == "route" {
			p.skipSpace()
			cmd = &PoolCommand{Verb: "explain_route", Value: string(p.text[p.pos:])}
			p.pos = len(p.text)
		}
	case "pause", "resume", "reconnect":
		return p.onDatabase(verb)
	case "switchover":
		if p.word() != "to" {
			return nil
		}
		if t := p.next(); t.kind == poolNumber {
			cmd = &PoolCommand{Verb: verb, Value: t.value}
		}
	case "kill":
		if t := p.next(); t.kind == poolNumber {
			cmd = &PoolCommand{Verb: verb, Value: t.value}
		}
	}
	if cmd == nil || !p.end() {
		return nil
	}
	return cmd
}

// malformed is a command of ours, as its first word says, that cannot be read. What Pgpool-II knows too, and what nobody knows, is the
// server's to refuse.
func malformed(verb string) *PoolCommand {
	form := ""
	switch verb {
	case "pause", "resume", "reconnect":
		form = "[database]"
	case "kill":
		form = "pid"
	case "switchover":
		form = "TO node_id"
	default:
		return nil
	}
	return &PoolCommand{Verb: "malformed", Name: verb, Value: "PGPOOL " + strings.ToUpper(verb) + " " + form}
}

// onDatabase reads what follows PAUSE, RESUME or RECONNECT: the name of a database or nothing.
func (p *poolScanner) onDatabase(verb string) *PoolCommand {
	cmd := &PoolCommand{Verb: verb}
	at := p.pos
	if p.end() {
		return cmd
	}
	p.pos = at
	if cmd.Name = p.name(); cmd.Name == "" || !p.end() {
		return nil
	}
	return cmd
}

// set reads SET name TO value, SET name = value and SET CACHE DELETE 'query'.
func (p *poolScanner) set() *PoolCommand {
	name := p.name()
	to := p.next()
	switch {
	case name == "":
		return nil
	case name == "cache" && to == poolToken{poolWord, "delete"}:
		if t := p.next(); t.kind == poolString {
			return &PoolCommand{Verb: "cache_delete", Value: t.value}
		}
		return nil
	case to != poolToken{poolWord, "to"} && to != poolToken{poolSign, "="}:
		return nil
	}
	cmd := &PoolCommand{Verb: "set", Name: name}
	var values []string
	for {
		v, isDefault, ok := p.value()
		if !ok {
			return nil
		}
		if isDefault && len(values) == 0 {
			cmd.Default = true
			return cmd
		}
		values = append(values, v)
		at := p.pos
		if p.next() != (poolToken{poolSign, ","}) {
			p.pos = at
			cmd.Value = strings.Join(values, ", ")
			return cmd
		}
	}
}

// value reads one value: a word, name, string, or number with a sign.
func (p *poolScanner) value() (v string, isDefault, ok bool) {
	t := p.next()
	switch t.kind {
	case poolWord:
		return t.value, t.value == "default", true
	case poolName, poolString, poolNumber:
		return t.value, false, true
	case poolSign:
		if t.value == "-" || t.value == "+" {
			if n := p.next(); n.kind == poolNumber {
				return strings.TrimPrefix(t.value, "+") + n.value, false, true
			}
		}
	}
	return "", false, false
}

func (p *poolScanner) word() string {
	if t := p.next(); t.kind == poolWord {
		return t.value
	}
	return ""
}

func (p *poolScanner) name() string {
	if t := p.next(); t.kind == poolWord || t.kind == poolName {
		return t.value
	}
	return ""
}

// end tells whether the statement ends here.
func (p *poolScanner) end() bool { return p.next().kind == poolEnd && !p.bad }

// more tells whether another statement follows.
func (p *poolScanner) more() bool {
	for p.pos < len(p.text) {
		if p.skipSpace(); p.pos < len(p.text) && p.text[p.pos] != ';' {
			return true
		}
		p.pos++
	}
	return false
}

// next reads a token.
func (p *poolScanner) next() poolToken {
	p.skipComments()
	if p.pos >= len(p.text) || p.bad {
		return poolToken{}
	}
	start := p.pos
	c := p.text[start]
	switch charClasses[c] {
	case classSemi:
		p.pos++
		return poolToken{}
	case classIdent:
		return p.scanWord()
	case classDigit:
		p.pos = endOfNumber(p.text, start)
		return poolToken{poolNumber, string(p.text[start:p.pos])}
	case classQuote:
		return p.scanString(plainString)
	case classDouble:
		if !p.advance(endOfQuoted(p.text, start)) {
			return poolToken{}
		}
		return poolToken{poolName, strings.ReplaceAll(string(p.text[start+1:p.pos-1]), `""`, `"`)}
	case classDollar:
		if end := endOfDollar(p.text, start); end != start {
			if !p.advance(end) {
				return poolToken{}
			}
			body := p.text[start:end]
			tag := strings.IndexByte(string(body[1:]), '$') + 2
			return poolToken{poolString, string(body[tag : len(body)-tag])}
		}
	}
	p.pos++
	return poolToken{poolSign, string(c)}
}

func (p *poolScanner) scanWord() poolToken {
	var b strings.Builder
	for p.pos < len(p.text) && foldIdent[p.text[p.pos]] != 0 {
		b.WriteByte(foldIdent[p.text[p.pos]])
		p.pos++
	}
	if b.String() == "e" && p.pos < len(p.text) && p.text[p.pos] == '\'' {
		return p.scanString(escapeString)
	}
	return poolToken{poolWord, b.String()}
}

// scanString reads a string; in the escape form only escaped quotes and backslashes are resolved.
func (p *poolScanner) scanString(form stringForm) poolToken {
	start := p.pos
	end, _ := endOfString(p.text, start, form)
	if !p.advance(end) {
		return poolToken{}
	}
	var b strings.Builder
	for i := start + 1; i < end-1; i++ {
		c := p.text[i]
		next := p.text[i+1]
		if c == '\'' && next == '\'' || c == '\\' && form == escapeString && (next == '\\' || next == '\'') {
			i++
			c = next
		}
		b.WriteByte(c)
	}
	return poolToken{poolString, b.String()}
}

// advance moves to end; an end below 0 is a text that ends too early.
func (p *poolScanner) advance(end int) bool {
	if end < 0 {
		p.bad = true
		p.pos = len(p.text)
		return false
	}
	p.pos = end
	return true
}

func (p *poolScanner) skipSpace() {
	for p.pos < len(p.text) && isSpace(p.text[p.pos]) {
		p.pos++
	}
}

func (p *poolScanner) skipComments() {
	for {
		p.skipSpace()
		rest := p.text[min(p.pos, len(p.text)):]
		switch {
		case len(rest) < 2:
			return
		case rest[0] == '-' && rest[1] == '-':
			p.pos = endOfLine(p.text, p.pos)
		case rest[0] == '/' && rest[1] == '*':
			if !p.advance(endOfComment(p.text, p.pos)) {
				return
			}
		default:
			return
		}
	}
}
