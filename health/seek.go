package health

import (
	"context"
	"sync"
	"time"

	"gopgpool/cluster"
)

const (
	// seekConnect and seekBound bound how long a node may take to be connected to, and to answer in all.
	seekConnect = time.Second
	seekBound   = 3 * time.Second
	// seekGrace is how long the others are waited for once a node has said that it is the primary.
	seekGrace = 300 * time.Millisecond
	// seekAgain is how often a standby that has answered is asked again while others are silent: the one that is promoted meanwhile
	// must not wait for them.
	seekAgain = 100 * time.Millisecond
)

// Roles asks all live nodes for their roles at once, each over a connection of its own, whatever the periods of the checks. It
// returns when all have answered, a moment after one has said that it is the primary, when the silent ones have been waited for long
// enough (3 s), or when ctx ends. Nothing is left open then.
func (p *Prober) Roles(ctx context.Context, v *cluster.View, s Settings) Roles {
	ctx, cancel := context.WithTimeout(ctx, seekBound)
	defer cancel()
	login := s.srLogin()
	if login.ConnectTimeout <= 0 || login.ConnectTimeout > seekConnect {
		login.ConnectTimeout = seekConnect
	}
	said := make(chan reading)
	var wg sync.WaitGroup
	silent := make(map[int]bool)
	for i := range v.Nodes {
		if v.Nodes[i].Status.Live() {
			silent[i] = true
			wg.Go(func() { p.seekNode(ctx, v, i, login, s.DetachFalsePrimary, said) })
		}
	}
	got := make([]reading, len(v.Nodes))
	var found *time.Timer
	for len(silent) > 0 {
		select {
		case <-ctx.Done():
			clear(silent)
		case r := <-said:
			got[r.node] = r
			delete(silent, r.node)
			if r.ok() && r.answer.Role == cluster.RolePrimary && found == nil {
				found = time.AfterFunc(seekGrace, cancel)
				defer found.Stop()
			}
		}
	}
	cancel()
	wg.Wait()
	return rolesOf(v, got)
}

// seekNode asks one node until it says that it is the primary, or ctx ends.
func (p *Prober) seekNode(ctx context.Context, v *cluster.View, i int, l Login, upstream bool, said chan<- reading) {
	r := reading{node: i, asked: true, upstream: cluster.NoNode}
	c, err := p.Connect(ctx, v.Nodes[i], l, srParams())
	if err != nil {
		r.err = err
		tell(ctx, said, r)
		return
	}
	defer closeQuietly(c)
	for {
		r.answer, r.upstream, r.err = c.tellsOf(ctx, v, upstream)
		if !tell(ctx, said, r) || r.err != nil || r.answer.Role == cluster.RolePrimary {
			return
		}
		sleep(ctx, seekAgain)
	}
}

// tell hands a reading over. It reports false if nobody waits for it any more.
func tell(ctx context.Context, said chan<- reading, r reading) bool {
	select {
	case said <- r:
		return true
	case <-ctx.Done():
		return false
	}
}
