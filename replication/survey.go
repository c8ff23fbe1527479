package replication

import (
	"context"
	"errors"
	"sync"
	"time"

	"gopgpool/cluster"
)

const (
	// surveyBound is how long a server may take to log us in and to tell.
	surveyBound = time.Second
	// downGrace is how long servers that are down are waited for once all others have told.
	downGrace = 200 * time.Millisecond
)

var errSilent = errors.New("no answer in time")

// Survey asks nodes, all at once, for what a successor is chosen by. The states come in the order of nodes; those that do not answer
// within a second, or as long as ctx lets them, have Err set, and so have those that would shut down if they were promoted. One that is
// down, such as the lost primary, holds nobody up: it is waited for as long as the others and little more.
func (k *Keeper) Survey(ctx context.Context, v *cluster.View, nodes []cluster.NodeID) []cluster.ServerState {
	states := make([]cluster.ServerState, len(nodes))
	all := k.askAll(ctx, v, nodes)
	primary := k.lastPrimary()
	for i := range all {
		states[i] = all[i].state
		if states[i].Err == nil {
			states[i].Err = misfit(&all[i], &primary)
		}
	}
	return states
}

// askAll asks nodes, each on a goroutine of its own that has ended when it returns.
func (k *Keeper) askAll(parent context.Context, v *cluster.View, nodes []cluster.NodeID) []tidings {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	all := make([]tidings, len(nodes))
	answered := make(chan int)
	var wg sync.WaitGroup
	waited := 0
	for i, id := range nodes {
		if v.Live(id) {
			waited++
		}
		wg.Go(func() {
			all[i] = k.ask(ctx, v.Nodes[id])
			answered <- i
		})
	}
	var late *time.Timer
	for range nodes {
		if waited == 0 && late == nil {
			late = time.AfterFunc(downGrace, func() { cancel(errSilent) })
			defer late.Stop()
		}
		if i := <-answered; v.Live(nodes[i]) {
			waited--
		}
	}
	wg.Wait()
	return all
}

// ask asks one node, and remembers what it says.
func (k *Keeper) ask(ctx context.Context, n cluster.Node) tidings {
	bounded, cancel := context.WithTimeoutCause(ctx, surveyBound, errSilent)
	defer cancel()
	var t tidings
	err := k.links.use(bounded, n, func(s *server) (err error) {
		t, err = s.tell(bounded)
		return err
	})
	if err != nil && bounded.Err() != nil {
		err = context.Cause(bounded)
	}
	t.state.Node, t.state.Err = n.ID, err
	if err == nil {
		k.remember(n.ID, t)
	} else {
		last := k.heard(n.ID).state
		if t.state.SystemID = last.SystemID; !last.InRecovery {
			t.state.Timeline = last.Timeline
		}
	}
	return t
}
