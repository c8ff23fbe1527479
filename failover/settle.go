package failover

import (
	"context"
	"errors"
	"time"

	"gopgpool/cluster"
)

const (
	// orderBound is how long a request waits for somebody who leads.
	orderBound = 10 * time.Second
	// grantBound is how long an order is waited for that has to wait for the end of an operation.
	grantBound = 3 * time.Second
	// settleBound is how long one question of another node, whether all is settled, waits for it.
	settleBound = 3 * time.Second
	// againWait is the pause before the leader is asked again.
	againWait = 200 * time.Millisecond
)

// settle asks to be told when the requests before it have been carried out.
type settle struct{ done chan settledAt }

// settledAt answers settle. Not ok: another node has to be asked.
type settledAt struct {
	ok     bool
	number uint64 // of the decision that holds then
}

var errFull = &Refusal{Message: "too many requests are waiting for failover"}

// Settle waits until everything reported before has been decided and carried out: commands have ended and the primary has been
// found or given up. It does not wait for follow_primary_command. Where another node leads it waits for that one, and until its
// decision holds here. Run must be running.
func (c *Coordinator) Settle(ctx context.Context) error {
	for {
		var at settledAt
		var err error
		if c.follows() {
			at, err = c.settleThere(ctx)
		} else {
			at, err = c.settleHere(ctx)
		}
		if err != nil || at.ok {
			return err
		}
		pause(ctx, againWait)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (c *Coordinator) follows() bool { return c.peers.standing.Load().Standing == StandingFollows }

func (c *Coordinator) settleHere(ctx context.Context) (settledAt, error) {
	s := settle{done: make(chan settledAt, 1)}
	if !c.inbox.put(s) {
		return settledAt{}, errFull
	}
	select {
	case at := <-s.done:
		return at, nil
	case <-ctx.Done():
		return settledAt{}, context.Cause(ctx)
	}
}

func (c *Coordinator) settleThere(ctx context.Context) (settledAt, error) {
	w := wire(settle{})
	answer, err := c.ask(ctx, w.order())
	if ctx.Err() != nil {
		return settledAt{}, context.Cause(ctx)
	}
	reply := parseReply(answer.Reply)
	if err != nil || answer.Result != ResultDone || !reply.Settled {
		return settledAt{}, nil
	}
	a := awaited{number: reply.Number, done: make(chan bool, 1)}
	c.inbox.put(a)
	select {
	case ok := <-a.done:
		return settledAt{ok: ok, number: reply.Number}, nil
	case <-ctx.Done():
		return settledAt{}, context.Cause(ctx)
	}
}

func (r awaited) apply(c *Coordinator) {
	r.done <- c.peers.office.Standing == StandingFollows && c.peers.carriedNumber >= r.number
}

// settled reports whether a settle may be answered: nothing is under way, and what was decided cannot be lost any more.
func (c *Coordinator) settled() bool {
	p := &c.peers
	if c.parts.Consensus == nil {
		return true
	}
	switch p.office.Standing {
	case StandingLoading:
		return false
	case StandingLeads:
		for _, v := range p.votes {
			if v.asking {
				return false
			}
		}
		return !p.dirty && !p.committing
	case StandingFollows, StandingAlone:
	}
	return true
}

func (c *Coordinator) settledAt() settledAt {
	p := &c.peers
	return settledAt{ok: c.parts.Consensus == nil || p.office.Standing != StandingFollows, number: p.number}
}

// Submit asks for what an operator wants and tells at once whether it is refused (*Refusal). It returns when the request is queued, here
// or with the node that leads; Settle waits for its end.
func (c *Coordinator) Submit(r Request) error {
	if err := c.Check(r); err != nil {
		return err
	}
	if a, ok := r.(Attach); ok && nodeOf(c.store.Current(), a.Node).Status == cluster.StatusQuarantine {
		c.inbox.put(released{a.Node})
		return nil
	}
	if c.parts.Consensus == nil {
		if !c.inbox.put(r) {
			return errFull
		}
		return nil
	}
	return c.submitTogether(r)
}

// submitTogether has an order decided by whoever decides. While that is not known it is tried again, unless the order might be carried
// out twice.
func (c *Coordinator) submitTogether(r Request) error {
	ctx, cancel := context.WithTimeout(context.Background(), orderBound)
	defer cancel()
	_, once := r.(Promote)
	if _, is := r.(Switchover); is {
		once = true
	}
	for {
		err := c.submitOnce(ctx, r)
		if why := (*noLeaderError)(nil); !errors.As(err, &why) || once {
			return err
		}
		pause(ctx, againWait)
		if ctx.Err() != nil {
			return err
		}
	}
}

func (c *Coordinator) submitOnce(ctx context.Context, r Request) error {
	switch c.peers.standing.Load().Standing {
	case StandingLeads:
		err := c.grant(ctx, r)
		if errors.Is(err, errDeposed) {
			return noLeader(err.Error())
		}
		return err
	case StandingAlone:
		if !c.inbox.put(r) {
			return errFull
		}
		return nil
	case StandingFollows, StandingLoading:
	}
	w := wire(r)
	return orderError(c.ask(ctx, w.order()))
}

// grant has a request decided on this node, which leads, and returns when what was decided cannot be lost any more. One that has to
// wait for the end of an operation is waited for only so long.
func (c *Coordinator) grant(ctx context.Context, r Request) error {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	w := &waiter{done: make(chan bool, 1)}
	if !c.inbox.put(granted{Request: r, waiter: w}) {
		return errFull
	}
	patience := time.NewTimer(grantBound)
	defer patience.Stop()
	for {
		select {
		case ok := <-w.done:
			if !ok {
				return errDeposed
			}
			return nil
		case <-patience.C:
			if !w.begun.Load() {
				return nil // its turn will come
			}
		case <-ctx.Done():
			return errDeposed // nobody knows whether it will be committed
		}
	}
}

// Check tells whether Submit would refuse r now (*Refusal); it asks for nothing.
func (c *Coordinator) Check(r Request) error {
	if c.parts.Consensus != nil && c.peers.standing.Load().Standing == StandingLoading {
		return &Refusal{Message: "the watchdog cluster is not ready", Detail: "It is not known yet which node leads."}
	}
	p := c.policy()
	if why := refuse(c.view(), r, &p); why != nil {
		return why
	}
	return nil
}

// Execute carries out what the nodes have agreed to, on the node that leads. It may take a few seconds. What it returns is for the
// node that asked.
func (c *Coordinator) Execute(ctx context.Context, request []byte) (reply []byte) {
	w, err := parseRequest(request)
	switch {
	case err != nil:
		return marshal(&wireReply{Version: wireVersion, Error: err.Error()})
	case c.peers.standing.Load().Standing != StandingLeads:
		return marshal(&wireReply{Version: wireVersion, Elsewhere: true})
	case w.Kind == kindSettle:
		return c.settleFor(ctx)
	}
	r := w.request(c.view())
	if len(w.Epochs) == 0 {
		if err := c.Check(r); err != nil {
			return refusalReply(err)
		}
	}
	if len(w.Epochs) > 0 || w.Kind == kindUsed {
		if !c.inbox.put(granted{Request: r}) {
			return refusalReply(errFull)
		}
		return marshal(&wireReply{Version: wireVersion})
	}
	switch err := c.grant(ctx, r); {
	case errors.Is(err, errDeposed):
		return marshal(&wireReply{Version: wireVersion, Elsewhere: true})
	case err != nil:
		return refusalReply(err)
	}
	return marshal(&wireReply{Version: wireVersion})
}

func (c *Coordinator) settleFor(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	at, err := c.settleHere(ctx)
	return marshal(&wireReply{Version: wireVersion, Settled: err == nil && at.ok, Number: at.number})
}
