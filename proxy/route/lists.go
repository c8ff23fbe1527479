package route

import (
	"regexp"
	"regexp/syntax"
	"strings"

	"gopgpool/conf"
	"gopgpool/proxy/stmt"
)

// nameList is a list of regular expressions for function names. Entries that are plain names, the usual case, are
// kept apart: finding one costs a look-up instead of a match with each.
type nameList struct {
	plain    map[string]struct{} // folded; schema.name for qualified ones
	patterns []*regexp.Regexp
}

func newNameList(p *conf.Patterns) nameList {
	var l nameList
	for _, re := range p.List {
		name, ok := literal(re)
		if !ok {
			l.patterns = append(l.patterns, re)
			continue
		}
		if l.plain == nil {
			l.plain = make(map[string]struct{})
		}
		l.plain[strings.ToLower(strings.ReplaceAll(name, `"`, ""))] = struct{}{}
	}
	return l
}

// literal returns the only text an anchored expression can match, if there is just one.
func literal(re *regexp.Regexp) (string, bool) {
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat || len(tree.Sub) != 3 {
		return "", false
	}
	begin, text, end := tree.Sub[0].Op, tree.Sub[1], tree.Sub[2].Op
	if begin != syntax.OpBeginText || end != syntax.OpEndText || text.Op != syntax.OpLiteral {
		return "", false
	}
	return string(text.Rune), true
}

func (l *nameList) empty() bool { return len(l.plain) == 0 && len(l.patterns) == 0 }

// match reports whether the name as written, schema.name when qualified, is on the list.
func (l *nameList) match(n stmt.Name) bool {
	text := n.Name
	if n.Schema != "" {
		text = n.Schema + "." + n.Name
	}
	if _, ok := l.plain[lower(text)]; ok {
		return true
	}
	for _, re := range l.patterns {
		if re.MatchString(text) {
			return true
		}
	}
	return false
}

// lower folds a name; names folded already, nearly all, are returned as they are.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= 'A' && c <= 'Z' || c >= 0x80 {
			return strings.ToLower(s)
		}
	}
	return s
}

// relations is dml_adaptive_object_relationship_list: what else counts as written when a relation is written or a
// function called. Names are folded. Only the first entry of an object counts, and dependents are not followed further.
type relations struct {
	byRelation, byFunction map[string]string
}

func newRelations(l *conf.ObjectRelationships) relations {
	r := relations{byRelation: map[string]string{}, byFunction: map[string]string{}}
	for _, e := range l.List {
		m := r.byRelation
		if e.ObjectIsFunction {
			m = r.byFunction
		}
		object := bare(e.Object)
		if _, seen := m[object]; !seen {
			m[object] = bare(e.Dependent)
		}
	}
	return r
}

// bare strips quotes and schema: relations are compared by bare name.
func bare(name string) string {
	name = strings.ToLower(strings.ReplaceAll(name, `"`, ""))
	return name[strings.LastIndexByte(name, '.')+1:]
}
