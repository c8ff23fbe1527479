package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

const (
	// switchoverBound is how long whoever orders a switchover waits for its end.
	switchoverBound = 60 * time.Second
	// holdBound is what 99 of 100 statements that overlap a switchover may wait.
	holdBound = 3 * time.Second
)

// switchoverRun hands the primary's role over again and again, in a pool mode.
func switchoverRun(mode string) func(context.Context, options) (runResult, error) {
	return func(ctx context.Context, o options) (_ runResult, err error) {
		c, err := newCampaign(ctx, o, "switchover-"+mode, staging{Unaided: true, Conf: map[string]string{"pool_mode": mode}})
		if err != nil {
			return runResult{}, err
		}
		defer func() { err = errors.Join(err, c.end()) }()
		c.planned, c.result.Lossless = true, true
		for i := range o.rounds {
			if err := c.handOver(ctx, i); err != nil {
				return c.result, fmt.Errorf("round %d: %w", i+1, err)
			}
		}
		r := &c.result
		r.Waits = waitsOf(c.overlapped)
		if r.Waits.Writes.P99 > holdBound {
			r.Findings = append(r.Findings, fmt.Sprintf("99 of 100 writes waited up to %s, allowed are %s", ms(r.Waits.Writes.P99), ms(holdBound)))
		}
		return c.conclude(ctx)
	}
}

// handOver is one round: a switchover under load, and the wait until the old primary is a standby.
func (c *campaign) handOver(ctx context.Context, number int) error {
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	f, err := c.atWork(ctx, c.workers())
	if err != nil {
		return err
	}
	defer f.halt()
	target := c.standbysOf(primary)[number/2%2]
	how := c.orderers()[number%2]
	r := roundResult{Number: number + 1, Harm: "switchover by " + how.name, Nodes: []int{primary.ID}, At: time.Now()}
	said, err := how.order(ctx, target.ID)
	r.Recovered = time.Since(r.At)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.judgeOrder(said, err)
	if now, err := c.primary(ctx); err != nil || now != target {
		r.complain(complaint{"a switchover makes its target the primary", fmt.Sprintf("server%d was to be it: %v", target.ID, err)})
	}
	c.judgeRecovery(loss{}, &r, c.awaitWorkers(ctx, f, c.workers()))
	seen, err := c.settle(ctx, f, &r, func(bool) {})
	if err != nil {
		return err
	}
	return c.assessHandOver(&r, seen)
}

// assessHandOver fills in figures and complaints of a switchover.
func (c *campaign) assessHandOver(r *roundResult, seen notes) error {
	r.complain(flawless(seen.Attempts)...)
	r.Errors = errorsOf(harm{At: r.At}, seen.Attempts)
	outage, ok := longestGap(seen.Attempts, r.At, seen.Until)
	if ok {
		r.Outage = outage.length()
	}
	all, err := c.failovers()
	if err != nil {
		return err
	}
	failover, missing := involving(all, r.Nodes[0], r.At)
	if missing != nil {
		r.complain(complaint{"pgpool's log tells of the switchover", missing.Error()})
	}
	if r.Phases, err = c.phases(r.At, failover, outage); err != nil {
		return err
	}
	some := overlapping(seen.Attempts, r.At, r.At.Add(r.Recovered))
	c.overlapped = append(c.overlapped, some...)
	w := waitsOf(some)
	r.Waits = &w
	r.Writes, r.Reads = answered(seen.Attempts, writer), answered(seen.Attempts, reader)
	c.result.Rounds = append(c.result.Rounds, *r)
	r.print(os.Stdout)
	return nil
}

func (r *roundResult) judgeOrder(said []string, err error) {
	if err != nil {
		r.complain(complaint{"a switchover succeeds", oneLine(err)})
	} else if len(said) == 0 {
		r.complain(complaint{"a switchover tells how it goes on", "nothing was said"})
	}
}

// standbysOf are the other nodes.
func (s *stage) standbysOf(primary *pgcluster.Node) []*pgcluster.Node {
	return slices.DeleteFunc(slices.Clone(s.cluster.Nodes), func(n *pgcluster.Node) bool { return n == primary })
}

// orderer is a way to order a switchover. It returns when it is over, with what was told meanwhile.
type orderer struct {
	name  string
	order func(ctx context.Context, target int) (said []string, err error)
}

func (s *stage) orderers() [2]orderer {
	return [2]orderer{{"SQL", s.orderBySQL}, {"PCP", s.orderByPCP}}
}

func (s *stage) orderBySQL(ctx context.Context, target int) (said []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, switchoverBound)
	defer cancel()
	config, err := pgconn.ParseConfig(s.dsn())
	if err != nil {
		return nil, err
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.Message) }
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, fmt.Sprintf("PGPOOL SWITCHOVER TO %d", target)).ReadAll()
	return said, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

func (s *stage) orderByPCP(ctx context.Context, target int) (said []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, switchoverBound)
	defer cancel()
	text, err := s.pcp(ctx, "pcp_promote_node", target, "-s")
	return []string{text}, err
}
