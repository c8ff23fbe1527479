package replication

import (
	"fmt"
	"slices"
	"strings"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// strangersOf lists the names in the primary's synchronous_standby_names that are no node's, where there are so many of them that nobody
// could be promoted if the primary were lost: the others may lack what one of them has. known is false where a node does not answer now and
// its name is not configured.
func strangersOf(f *Facts) (strangers []string, known bool) {
	p := f.primary()
	if p == nil {
		return nil, false
	}
	names, err := cluster.ParseSyncNames(p.State.SyncNames)
	if err != nil {
		return nil, false
	}
	var standbys []string
	for i := range f.View.Nodes {
		n := &f.View.Nodes[i]
		if n.Port == 0 || n.ID == f.View.Primary {
			continue
		}
		name := n.ApplicationName
		if s := &f.Nodes[i].State; s.Err == nil && s.InRecovery {
			name = s.ApplicationName
		}
		if name == "" {
			return nil, false
		}
		standbys = append(standbys, name)
	}
	own := f.View.Nodes[f.View.Primary].ApplicationName
	if names.Needed(own, standbys) <= len(names.Members(standbys)) {
		return nil, true
	}
	return names.Strangers(own, standbys), true
}

// warnOfStrangers tells once that nobody could be promoted, which is better known before the primary is lost.
func (k *Keeper) warnOfStrangers(f *Facts) {
	strangers, known := strangersOf(f)
	if !known || slices.Equal(strangers, k.strangers) {
		return
	}
	k.strangers = strangers
	p := f.primary()
	if len(strangers) == 0 {
		k.tell(p.State.Node, logging.Log, "node %d: its synchronous_standby_names stands in the way of no promotion any more", p.State.Node)
		return
	}
	k.parts.Log.Log(logging.Event{
		Severity: logging.Warning, Node: logging.OnNode(int(p.State.Node)),
		Message: fmt.Sprintf("if node %d is lost, no standby will be promoted: its synchronous_standby_names = '%s' names what is no node: %s",
			p.State.Node, p.State.SyncNames, strings.Join(strangers, ", ")),
		Detail: "Who has such a name may alone have acknowledged commits.",
		Hint:   fmt.Sprintf("If it is the name of node %d itself, set backend_application_name%d.", p.State.Node, p.State.Node),
	})
}
