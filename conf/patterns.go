package conf

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
)

// Patterns is a list of regular expressions, case-insensitive and anchored at both ends unless written otherwise.
type Patterns struct {
	Text string // as written
	List []*regexp.Regexp
}

// Empty reports whether the list has no usable element.
func (p *Patterns) Empty() bool { return len(p.List) == 0 }

// Match reports whether s matches one of the elements.
func (p *Patterns) Match(s string) bool {
	for _, re := range p.List {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}

// RedirectKind is the sort of node a redirect rule names.
type RedirectKind uint8

// The kinds of redirect targets.
const (
	RedirectPrimary RedirectKind = iota + 1
	RedirectStandby
	RedirectNode
)

// Redirect is one rule of a redirect preference list.
type Redirect struct {
	Pattern *regexp.Regexp
	Kind    RedirectKind
	Node    int     // for RedirectNode
	Ratio   float64 // share of the sessions that go there, 0 to 1
}

// RedirectList is a redirect preference list; the first rule that matches counts.
type RedirectList struct {
	Text  string // as written
	Rules []Redirect
}

// Find returns the first rule whose pattern matches the name.
func (l *RedirectList) Find(name string) (Redirect, bool) {
	for _, r := range l.Rules {
		if r.Pattern.MatchString(name) {
			return r, true
		}
	}
	return Redirect{}, false
}

// ObjectRelationship says that reads of Dependent need the primary once Object was written.
type ObjectRelationship struct {
	Object, Dependent                     string
	ObjectIsFunction, DependentIsFunction bool // written with a trailing (), which is not part of the name
}

// ObjectRelationships is dml_adaptive_object_relationship_list.
type ObjectRelationships struct {
	Text string // as written
	List []ObjectRelationship
}

// compileAnchored compiles a POSIX extended expression, without regard to case, anchored at both ends unless it says so itself.
func compileAnchored(expr string) (*regexp.Regexp, error) {
	if !strings.HasPrefix(expr, "^") {
		expr = "^" + expr
	}
	if !strings.HasSuffix(expr, "$") {
		expr += "$"
	}
	// As regcomp has it: ^ and $ mean the whole text, a dot or an excluding class matches a newline. \w, \s, \b are GNU's.
	tree, err := syntax.Parse(expr, syntax.FoldCase|syntax.OneLine|syntax.DotNL|syntax.ClassNL|syntax.PerlX)
	if err != nil {
		return nil, err
	}
	return regexp.Compile(tree.String())
}

// parsePatterns reads a list of expressions. One that does not compile is left out with a warning.
func parsePatterns(text string, sep byte) (p Patterns, warnings []string) {
	p.Text = text
	elements := splitList(text, sep)
	if sep == ';' {
		elements = splitEscaped(text, sep)
	}
	for _, e := range elements {
		re, err := compileAnchored(e)
		if err != nil {
			warnings = append(warnings, fmt.Sprintf("expression \"%s\" is left out: %v", e, err))
			continue
		}
		p.List = append(p.List, re)
	}
	return p, warnings
}

// splitEscaped splits where the separator is not escaped by a backslash; blanks count, empty elements do not. An escaped
// quote is a quote.
func splitEscaped(text string, sep byte) []string {
	var elements []string
	var b strings.Builder
	add := func() {
		if b.Len() > 0 {
			elements = append(elements, b.String())
		}
		b.Reset()
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == sep || text[i+1] == '\''):
			i++
			b.WriteByte(text[i])
		case text[i] == '\\' && i+1 < len(text):
			b.WriteByte(text[i])
			i++
			b.WriteByte(text[i])
		case text[i] == sep:
			add()
		default:
			b.WriteByte(text[i])
		}
	}
	add()
	return elements
}

// parseRedirects reads regex:node(ratio),... Blanks count. An element without a colon ends the list.
func parseRedirects(text string) (RedirectList, *valueError) {
	l := RedirectList{Text: text}
	for e := range strings.SplitSeq(text, ",") {
		expr, target, ok := strings.Cut(e, ":")
		if !ok && strings.TrimSpace(text) == "" {
			break
		}
		if !ok {
			return l, &valueError{text: fmt.Sprintf("wrong redirect entry \"%s\"", e), hint: "An entry is written as regex:node or regex:node(ratio)."}
		}
		re, err := compileAnchored(expr)
		if err != nil {
			return l, &valueError{text: fmt.Sprintf("invalid regular expression \"%s\": %v", expr, err)}
		}
		r, bad := parseTarget(target)
		if bad != nil {
			return l, bad
		}
		r.Pattern = re
		l.Rules = append(l.Rules, r)
	}
	return l, nil
}

func parseTarget(text string) (Redirect, *valueError) {
	name, ratio, _ := strings.Cut(text, "(")
	r := Redirect{Ratio: 1}
	if strings.Contains(text, "(") {
		v, err := strconv.ParseFloat(strings.TrimSuffix(ratio, ")"), 64)
		if err != nil || !(v >= 0 && v <= 1) || !strings.HasSuffix(ratio, ")") {
			return r, badTarget(text, "The ratio is written as (0.0) to (1.0).")
		}
		r.Ratio = v
	}
	switch {
	case strings.EqualFold(name, "primary"):
		r.Kind = RedirectPrimary
	case strings.EqualFold(name, "standby"):
		r.Kind = RedirectStandby
	default:
		n, err := strconv.Atoi(name)
		if err != nil || n < 0 || n > FamilyBackend.maxIndex() {
			return r, badTarget(text, "Allowed are primary, standby and 0 to 127.")
		}
		r.Kind, r.Node = RedirectNode, n
	}
	return r, nil
}

func badTarget(text, hint string) *valueError {
	return &valueError{
		text:   fmt.Sprintf("invalid redirect target \"%s\"", text),
		detail: fmt.Sprintf("wrong redirect db node spec: \"%s\"", text),
		hint:   hint,
	}
}

// parseRelationships reads object:dependent,... where a trailing () marks a function.
func parseRelationships(p *Param, at *ObjectRelationships, text string) *valueError {
	l := ObjectRelationships{Text: text}
	for _, e := range splitList(text, p.sep) {
		object, dependent, ok := strings.Cut(e, ":")
		object, dependent = strings.TrimSpace(object), strings.TrimSpace(dependent)
		if !ok || object == "" || dependent == "" {
			err := p.invalid(text)
			err.detail = fmt.Sprintf("\"%s\" is not of the form object:dependent", e)
			return err
		}
		var r ObjectRelationship
		r.Object, r.ObjectIsFunction = strings.CutSuffix(object, "()")
		r.Dependent, r.DependentIsFunction = strings.CutSuffix(dependent, "()")
		l.List = append(l.List, r)
	}
	*at = l
	return nil
}
