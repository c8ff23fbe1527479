package conf

import "regexp"

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
