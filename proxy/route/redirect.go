package route

import (
	"gopgpool/cluster"
	"gopgpool/conf"
)

// The redirect lists in their order of precedence.
const (
	redirectAppName = iota
	redirectDatabase
	redirectUser
	redirectLists
)

var redirectNames = [redirectLists]string{
	"app_name_redirect_preference_list", "database_redirect_preference_list", "user_redirect_preference_list",
}

// suggestion is the wish of one entry of a redirect list: its target gets the share weight (0 to 1) of the choices. The
// zero value wishes nothing.
type suggestion struct {
	kind   conf.RedirectKind
	node   cluster.NodeID // of RedirectNode, and of RedirectPrimary once resolved
	weight float64
}

// Preference is what the redirect lists say about one session: at most one suggestion of each list. The zero value
// says nothing.
type Preference struct {
	lists [redirectLists]suggestion
}

// Prefer matches the session's startup packet against the redirect lists. An application_name set later does not count.
func (p *Policy) Prefer(user, database, applicationName string) Preference {
	var pref Preference
	for l, subject := range [redirectLists]string{applicationName, database, user} {
		if l == redirectAppName && subject == "" {
			continue
		}
		if r, ok := p.redirects[l].Find(subject); ok {
			pref.lists[l] = suggestion{kind: r.Kind, node: cluster.NodeID(r.Node), weight: r.Ratio}
		}
	}
	return pref
}

// resolve returns the suggestion that counts now, and its list: that of the first list whose target is live. A target
// that is down drops only its own list's suggestion.
func (p *Preference) resolve(v *cluster.View) (suggestion, int) {
	for l := range p.lists {
		s := p.lists[l]
		ok := false
		switch s.kind {
		case conf.RedirectPrimary:
			s.node = v.Primary
			ok = v.Live(v.Primary)
		case conf.RedirectStandby:
			ok = hasStandby(v)
		case conf.RedirectNode:
			if int(s.node) >= len(v.Nodes) { // there is no such backend: the main node stands in
				s.node = v.Main()
			}
			ok = v.Live(s.node)
		}
		if ok {
			return s, l
		}
	}
	return suggestion{}, 0
}

func hasStandby(v *cluster.View) bool {
	writer := v.Writer()
	for i := range v.Nodes {
		if id := cluster.NodeID(i); id != writer && v.Live(id) {
			return true
		}
	}
	return false
}
