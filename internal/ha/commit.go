package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// answersWanted is how many COMMITs have to be in flight at each loss, on average: 500 at the 20 losses of all four runs.
const answersWanted = 25

// commitRun loses the primary while many clients commit, and compares what each was told with the rows. A quarter of the rounds falls to
// each of the four runs: asynchronous and synchronous, by pool mode.
func commitRun(name, mode string, synchronous bool) func(context.Context, options) (runResult, error) {
	return func(ctx context.Context, o options) (_ runResult, err error) {
		c, err := newCampaign(ctx, o, name, staging{Unaided: true, Synchronous: synchronous, Conf: map[string]string{"pool_mode": mode}})
		if err != nil {
			return runResult{}, err
		}
		defer func() { err = errors.Join(err, c.end()) }()
		who := crew{Committers: 2 * o.clients, Think: time.Millisecond}
		rounds := (o.rounds + 3) / 4
		wanted := answersWanted * rounds * o.clients / 64
		for i := 0; i < rounds || c.inFlight < wanted && i < 3*rounds; i++ {
			if err := c.losePrimaryUnaided(ctx, i, who); err != nil {
				return c.result, fmt.Errorf("round %d: %w", i+1, err)
			}
		}
		if c.inFlight < wanted {
			c.result.Findings = append(c.result.Findings, fmt.Sprintf("only %d COMMITs were in flight, wanted are %d", c.inFlight, wanted))
		}
		return c.conclude(ctx)
	}
}

// remember keeps what committers noted of a loss.
func (c *campaign) remember(v volley) {
	c.volleys = append(c.volleys, v)
	for _, a := range v.Attempts {
		if v.inFlight(a) {
			c.inFlight++
		}
	}
}
