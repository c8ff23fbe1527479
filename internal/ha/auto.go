package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gopgpool/internal/pgcluster"
)

// autoRun kills the primary again and again, where no script promotes and nobody repairs.
func autoRun(synchronous bool) func(context.Context, options) (runResult, error) {
	name := map[bool]string{false: "auto", true: "autosync"}[synchronous]
	return func(ctx context.Context, o options) (_ runResult, err error) {
		c, err := newCampaign(ctx, o, name, staging{Unaided: true, Synchronous: synchronous})
		if err != nil {
			return runResult{}, err
		}
		defer func() { err = errors.Join(err, c.end()) }()
		for i := range o.rounds {
			if err := c.losePrimaryUnaided(ctx, i, c.workers()); err != nil {
				return c.result, fmt.Errorf("round %d: %w", i+1, err)
			}
		}
		return c.conclude(ctx)
	}
}

// losePrimaryUnaided is one round.
func (c *campaign) losePrimaryUnaided(ctx context.Context, number int, who crew) error {
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	if c.how.Synchronous {
		if err := c.synchronizeAny(ctx, primary, number); err != nil {
			return err
		}
	}
	f, err := c.atWork(ctx, who)
	if err != nil {
		return err
	}
	defer f.halt()
	l := loss{what: killing(number), nodes: []*pgcluster.Node{primary}, primary: true}
	done, err := c.inflict(ctx, l)
	if err != nil {
		return err
	}
	end := time.Now()
	r := newRound(number, l, done.at)
	stuck := c.awaitWorkers(ctx, f, who)
	r.Recovered = time.Since(done.at)
	c.judgeRecovery(l, &r, stuck)
	seen, err := c.settle(ctx, f, &r, func(bool) {})
	if err != nil {
		return err
	}
	if err := c.assess(l, &r, seen, rules{Patience: unneeded, Unaided: true}); err != nil {
		return err
	}
	if who.Committers > 0 {
		c.remember(volley{Fenced: c.harms[len(c.harms)-1].Fenced, Hit: done.at, End: end, Attempts: seen.Attempts})
	}
	c.result.Rounds = append(c.result.Rounds, r)
	r.print(os.Stdout)
	return nil
}

// awaitWorkers waits until every client has had an answer to a statement sent from now on.
func (c *campaign) awaitWorkers(ctx context.Context, f *fleet, who crew) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	wanted := []role{writer}
	if who.Readers > 0 {
		wanted = append(wanted, reader)
	}
	return f.awaitWork(ctx, time.Now(), wanted...)
}

// synchronizeAny has the primary wait for standbys: for a named one, or for any one of both, in turn.
func (s *stage) synchronizeAny(ctx context.Context, primary *pgcluster.Node, number int) error {
	standbys := s.standbysOf(primary)
	var names []string
	for _, n := range standbys {
		names = append(names, n.Name)
	}
	setting, state, count := names[number%2], "sync", 1
	if number/2%2 == 1 {
		setting, state, count = fmt.Sprintf("ANY 1 (%s)", strings.Join(names, ", ")), "quorum", len(names)
	}
	if err := s.awaitSynchronous(ctx, primary, setting, state, count); err != nil {
		return err
	}
	return s.awaitFit(ctx)
}

// awaitFit waits until pgpool holds no node unfit that the primary waits for: after a promotion those are that lack what was acknowledged
// while nobody was waited for.
func (s *stage) awaitFit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	return pgcluster.Poll(ctx, "a standby may be promoted", func() (bool, error) {
		f, err := os.Open(s.pool.Log)
		if err != nil {
			return false, err
		}
		defer f.Close()
		events, err := readPoolLog(f)
		return len(unfit(events)) == 0, errors.Join(err, wait(ctx, 100*time.Millisecond))
	})
}

// unfit are the nodes that are not to be promoted, as the log says.
func unfit(events []poolEvent) map[int]bool {
	barred := map[int]bool{}
	for _, e := range events {
		switch {
		case strings.Contains(e.Message, " is not to be promoted: "):
			barred[e.Node] = true
		case strings.HasSuffix(e.Message, " may be promoted again"), strings.HasPrefix(e.Message, "failover: set new primary node: "):
			delete(barred, e.Node)
		}
	}
	return barred
}
