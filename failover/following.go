package failover

import (
	"context"
	"sync"

	"gopgpool/cluster"
)

// following is the run of follow_primary_command that is under way, if any.
type following struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// follow begins a run. One that is still under way follows a primary that is gone: it is ended first.
func (c *Coordinator) follow(ctx context.Context, f *Follow, tasks *sync.WaitGroup) {
	before := c.following
	if before.cancel != nil {
		before.cancel(nil)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	c.following = following{cancel: cancel, done: make(chan struct{})}
	mine := c.following
	tasks.Go(func() {
		defer cancel(nil)
		defer close(mine.done)
		if before.done != nil {
			<-before.done
		}
		c.followAll(ctx, f)
		c.Report(FollowEnded{Run: f.Run})
	})
}

// followAll runs the command for one node after another. Nodes that somebody has attached meanwhile are left alone. Without the primary
// it began for nobody is to be followed: a script would rebuild the remaining nodes from a server that is gone.
func (c *Coordinator) followAll(ctx context.Context, f *Follow) {
	for _, id := range f.Nodes {
		if ctx.Err() != nil {
			return
		}
		p, v := c.policy(), c.view()
		template := FollowCommand.Template(&p)
		if template == "" || nodeOf(v, id).Status != cluster.StatusDown {
			continue
		}
		if v.Primary != f.NewPrimary {
			c.tell(Reason{Kind: FollowDropped, Node: id, Others: []cluster.NodeID{f.NewPrimary}})
			continue
		}
		cmd := f.command(id)
		text := cmd.Expand(template, v)
		c.tell(Reason{Kind: FollowBegins, Node: id}, Reason{Kind: Executing, Node: id, New: text})
		err := c.run(ctx, text)
		c.tell(outcome(cmd, err), Reason{Kind: FollowEnds, Node: id})
	}
}
