package conf

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"gopkg.in/ini.v1"
)

// poolEntry is one line of a pool file: name = value, in a section.
type poolEntry struct {
	section string
	name    string
	quoted  bool // the name stood in double quotes
	value   string
	line    int
}

// label names an entry in messages.
func (e *poolEntry) label() string { return "[" + e.section + "] " + e.name }

// skippedSection stands for a section that was refused.
const skippedSection = "-"

// quotedMark begins the names that were quoted; no other name may begin with it.
const quotedMark = "%"

// readPoolFile splits the text of a pool file into its entries. The INI library reads sections and keys, but keeps no line
// numbers and knows no SQL quoting: so each line is given to it behind a comment with its number, which it keeps with the key,
// and quoted names are given escaped. Errors are about lines that have no meaning.
func readPoolFile(file, text string) ([]poolEntry, []Problem) {
	p := poolPrepass{file: file, seen: make(map[string]int)}
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		n++
		p.line(n, strings.TrimSpace(line))
	}
	f, err := ini.LoadSources(ini.LoadOptions{
		IgnoreContinuation: true, IgnoreInlineComment: true, PreserveSurroundedQuote: true, KeyValueDelimiters: "=",
	}, []byte(p.out.String()))
	if err != nil {
		return nil, append(p.problems, Problem{Severity: Error, File: file, Text: fmt.Sprintf("pool file \"%s\": %v", file, err)})
	}
	var entries []poolEntry
	for _, s := range f.Sections() {
		for _, k := range s.Keys() {
			e := poolEntry{section: s.Name(), name: k.Name(), value: k.Value(), line: lineNumber(k.Comment)}
			if escaped, ok := strings.CutPrefix(e.name, quotedMark); ok {
				e.name, _ = url.QueryUnescape(escaped) // our own escapes
				e.quoted = true
			}
			entries = append(entries, e)
		}
	}
	return entries, p.problems
}

// lineNumber reads the comment before a key.
func lineNumber(comment string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(comment, "; ")) // our own comment
	return n
}

// poolPrepass checks the lines of a pool file and writes them as the INI library is to see them.
type poolPrepass struct {
	file     string
	section  string
	out      strings.Builder
	seen     map[string]int // line by section and name
	problems []Problem
}

func (p *poolPrepass) error(line int, text, hint string) {
	p.problems = append(p.problems, Problem{Severity: Error, File: p.file, Line: line, Text: text, Hint: hint})
}

func (p *poolPrepass) line(n int, text string) {
	switch {
	case text == "" || text[0] == '#' || text[0] == ';':
	case text[0] == '[':
		p.header(n, text)
	case p.section == "":
		p.error(n, "a pool file begins with a section", "sections are [databases] and [users]")
	case p.section == skippedSection: // its header was told
	case strings.HasPrefix(text, "%include"):
		p.error(n, "%include is not supported in a pool file", "write everything into one file")
	default:
		p.entry(n, text)
	}
}

func (p *poolPrepass) header(n int, text string) {
	name, rest, closed := strings.Cut(text[1:], "]")
	rest = strings.TrimSpace(rest)
	switch {
	case !closed || rest != "" && rest[0] != ';' && rest[0] != '#':
		p.error(n, fmt.Sprintf("syntax error in pool file near \"%s\"", text), "a section is written as [name]")
	case name != databasesSection && name != usersSection && name != bouncerSection:
		p.error(n, fmt.Sprintf("unknown section [%s] in pool file", name), "sections are [databases] and [users]")
	default:
		p.section = name
		p.write(n, "["+name+"]")
		return
	}
	p.section = skippedSection
}

func (p *poolPrepass) entry(n int, text string) {
	name, quoted, value, bad := splitEntry(text)
	if bad != "" {
		p.error(n, fmt.Sprintf("syntax error in pool file: %s", bad), `a line is written as name = settings or "name" = settings`)
		return
	}
	k, escaped := p.section+"."+name, name
	if quoted {
		escaped = quotedMark + url.QueryEscape(name)
	}
	if name == fallbackName {
		k = p.section + "." + escaped // a quoted one is a name
	}
	if first, ok := p.seen[k]; ok && p.section != bouncerSection {
		p.error(n, fmt.Sprintf("there are two lines for [%s] %s", p.section, name), fmt.Sprintf("the first is line %d", first))
		return
	}
	p.seen[k] = n
	p.write(n, escaped+" = "+value)
}

func (p *poolPrepass) write(n int, text string) { fmt.Fprintf(&p.out, "; %d\n%s\n", n, text) }

// splitEntry takes a line apart.
func splitEntry(text string) (name string, quoted bool, value, bad string) {
	if text[0] == '"' {
		name, rest, closed := cutQuoted(text[1:])
		rest, found := strings.CutPrefix(strings.TrimSpace(rest), "=")
		switch {
		case !closed:
			return "", true, "", "a quoted name has no end"
		case name == "":
			return "", true, "", "the name is empty"
		case !found:
			return "", true, "", "there is no = behind the name"
		}
		return name, true, strings.TrimSpace(rest), badValue(rest)
	}
	name, value, found := strings.Cut(text, "=")
	name = strings.TrimSpace(name)
	switch {
	case !found:
		return "", false, "", fmt.Sprintf("there is no = in \"%s\"", text)
	case name == "-" || name != fallbackName && strings.Trim(name, nameCharacters) != "" || name == "":
		return "", false, "", fmt.Sprintf("the name \"%s\" must stand in double quotes", name)
	}
	return name, false, strings.TrimSpace(value), badValue(value)
}

// nameCharacters are those of names that need no quotes.
const nameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

// badValue finds what the INI library would read as a value of several lines.
func badValue(value string) string {
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, "`") || strings.HasPrefix(value, `"`) {
		return fmt.Sprintf("settings cannot begin with %c", value[0])
	}
	return ""
}

// cutQuoted ends a quoted name: a doubled quote stands for one.
func cutQuoted(s string) (name, rest string, closed bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '"':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i:], `""`):
			b.WriteByte('"')
			i++
		default:
			return b.String(), s[i+1:], true
		}
	}
	return "", "", false
}
