package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopgpool/internal/pgcluster"
)

const (
	// warmUp is how long the clients work before the harm, plus up to a period of the health check: kills fall everywhere in it.
	warmUp, period = 700 * time.Millisecond, time.Second
	// afterwards is how long they go on once all work again.
	afterwards = 500 * time.Millisecond
	// recovery is how long a round waits until every client works again.
	recovery = 45 * time.Second
	// staying is how long a node is looked at that is expected to go on.
	staying = 5 * time.Second
	// unneeded is the longest a client may wait that needs no lost node.
	unneeded = 1500 * time.Millisecond
)

// campaign is a run at work: a stage, its clients and what has been seen so far.
type campaign struct {
	*stage
	idle     *fleet // over all rounds
	result   runResult
	attempts []attempt // of all rounds
	// overlapped are the attempts that overlapped a switchover.
	overlapped []attempt
	volleys    []volley // of committers, with how many COMMITs were in flight
	inFlight   int
	broken     bool // nodes did not come back
	planned    bool // nothing is lost in this run: nobody may feel anything
	freezes    []freeze
	disks      map[int]bool // nodes with a small disk
}

// newCampaign sets the stage. The caller ends the campaign.
func newCampaign(ctx context.Context, o options, name string, how staging) (*campaign, error) {
	fmt.Printf("%s: starting servers and pgpool\n", name)
	s, err := startStage(ctx, o, how)
	if err != nil {
		return nil, err
	}
	c := &campaign{stage: s, disks: map[int]bool{}, result: runResult{
		Name: name, Synchronous: how.Synchronous, Lossless: how.Synchronous, Unaided: how.Unaided, Peer: o.peer,
	}}
	c.idle = startFleet(s.dsn(), crew{Idlers: o.idlers}, s.rows)
	return c, nil
}

// end stops everything.
func (c *campaign) end() error {
	c.idle.halt()
	if c.opts.keep != "" && (c.broken || len(c.result.Findings) > 0) {
		if err := c.keepLogs(); err != nil {
			fmt.Fprintln(os.Stderr, "ha:", err)
		}
	}
	errs := []error{}
	for _, n := range c.cluster.Nodes { // left by a row that was broken off
		if c.disks[n.ID] {
			errs = append(errs, n.Stop(context.Background(), pgcluster.Immediate), c.removeDisk(n))
		}
	}
	return errors.Join(append(errs, c.close())...)
}

// keepLogs copies the logs of servers and pgpool.
func (c *campaign) keepLogs() error {
	dir := filepath.Join(c.opts.keep, c.result.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files := []string{c.pool.Log}
	for _, n := range c.cluster.Nodes {
		files = append(files, n.Log)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), text, 0o644); err != nil {
			return err
		}
	}
	fmt.Println("logs:", dir)
	return nil
}

// primaryRun kills the primary again and again.
func primaryRun(synchronous bool) func(context.Context, options) (runResult, error) {
	name := map[bool]string{false: "primary", true: "synchronous"}[synchronous]
	return func(ctx context.Context, o options) (_ runResult, err error) {
		c, err := newCampaign(ctx, o, name, staging{Synchronous: synchronous})
		if err != nil {
			return runResult{}, err
		}
		defer func() { err = errors.Join(err, c.end()) }()
		for i := range o.rounds {
			if err := c.losePrimary(ctx, i, synchronous); err != nil {
				return c.result, fmt.Errorf("round %d: %w", i+1, err)
			}
		}
		return c.conclude(ctx)
	}
}

// standbyRun kills standbys in turn.
func standbyRun(ctx context.Context, o options) (_ runResult, err error) {
	c, err := newCampaign(ctx, o, "standby", staging{})
	if err != nil {
		return runResult{}, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	for i := range o.rounds {
		if err := c.loseStandby(ctx, i); err != nil {
			return c.result, fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	return c.conclude(ctx)
}

func (c *campaign) losePrimary(ctx context.Context, number int, synchronous bool) error {
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	if synchronous {
		if err := c.synchronize(ctx, primary, c.successor(primary)); err != nil {
			return err
		}
	}
	return c.round(ctx, number, loss{what: killing(number), nodes: []*pgcluster.Node{primary}, primary: true})
}

func (c *campaign) loseStandby(ctx context.Context, number int) error {
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	standbys := slices.DeleteFunc(slices.Clone(c.cluster.Nodes), func(n *pgcluster.Node) bool { return n == primary })
	return c.round(ctx, number, loss{what: killing(number), nodes: standbys[number%2 : number%2+1]})
}

// killing alternates: all processes at once as when the machine is lost, or the first process alone, whose children notice.
func killing(number int) faultKind {
	if number%2 == 0 {
		return killAll
	}
	return killFirst
}

// loss is what a round does.
type loss struct {
	what    faultKind
	nodes   []*pgcluster.Node
	primary bool // the primary is among them
	all     bool // no node is left
	stays   bool // the nodes go on serving, so pgpool keeps them
	restart bool // pgpool itself is killed in the course of it: what clients feel of that is not judged
	free    bool // it is not said whether pgpool fails over

	within time.Duration // the time in which clients work again; 0: as long as recovery
	look   bool          // at SHOW pool_nodes
}

// atWork starts the clients and lets them work for a while, so that harm falls everywhere in a period of the health check. The caller
// halts the fleet.
func (c *campaign) atWork(ctx context.Context, who crew) (*fleet, error) {
	f := startFleet(c.dsn(), who, c.rows)
	begun := time.Now()
	soon, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	wanted := []role{writer}
	if who.Readers > 0 {
		wanted = append(wanted, reader)
	}
	err := f.awaitWork(soon, begun, wanted...)
	if err == nil {
		err = wait(ctx, warmUp+rand.N(period))
	}
	if err != nil {
		f.halt()
		return nil, err
	}
	return f, nil
}

// workers are the clients of most rounds.
func (c *campaign) workers() crew {
	return crew{Writers: c.opts.clients, Readers: c.opts.clients, Think: c.opts.think}
}

// round has the clients work, does the harm, waits until they work again, notes and judges, and repairs.
func (c *campaign) round(ctx context.Context, number int, l loss) error {
	f, err := c.atWork(ctx, c.workers())
	if err != nil {
		return err
	}
	defer f.halt()
	done, err := c.inflict(ctx, l)
	if err != nil {
		return err
	}
	r := newRound(number, l, done.at)
	stuck := c.awaitRecovery(ctx, f, l, done.at)
	r.Recovered = time.Since(done.at)
	if err := wait(ctx, afterwards); err != nil {
		return err
	}
	seen := f.gather(c.rows)
	c.attempts = append(c.attempts, seen.Attempts...)
	if err := c.assess(l, &r, seen, rules{Patience: unneeded}); err != nil {
		return err
	}
	c.judgeRecovery(l, &r, stuck)
	if l.look {
		if err := c.lookAt(ctx, l, &r); err != nil {
			return err
		}
	}
	c.result.Rounds = append(c.result.Rounds, r)
	r.print(os.Stdout)
	if err := done.undo(ctx); err != nil {
		return err
	}
	if l.all {
		if err := c.reviveAll(ctx, l.nodes); err != nil {
			return err
		}
	}
	return c.repair(ctx)
}

func newRound(number int, l loss, at time.Time) roundResult {
	r := roundResult{Number: number + 1, Harm: l.what.String(), At: at}
	for _, n := range l.nodes {
		r.Nodes = append(r.Nodes, n.ID)
	}
	return r
}

// judgeRecovery complains where clients did not work again, or not in time.
func (c *campaign) judgeRecovery(l loss, r *roundResult, stuck error) {
	if stuck != nil {
		r.complain(complaint{ruleAnswer, fmt.Sprintf("not all clients work %s after the harm: %v", recovery, stuck)})
	}
	if l.within > 0 && r.Recovered > l.within && !c.opts.peer {
		r.complain(complaint{"clients work again in time", fmt.Sprintf("after %s, allowed are %s", ms(r.Recovered), ms(l.within))})
	}
}

// awaitRecovery waits until the clients work again and pgpool has finished.
func (c *campaign) awaitRecovery(ctx context.Context, f *fleet, l loss, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	if l.stays {
		return errors.Join(wait(ctx, staying), f.awaitWork(ctx, time.Now(), writer, reader))
	}
	lost := l.nodes[len(l.nodes)-1].ID
	err := pgcluster.Poll(ctx, "pgpool ends the failover", func() (bool, error) {
		all, err := c.failovers()
		if err != nil {
			return false, err
		}
		seen, err := involving(all, lost, since)
		return err == nil && !seen.Done.IsZero(), nil
	})
	if l.all {
		return err
	}
	return errors.Join(err, f.awaitWork(ctx, time.Now(), writer, reader))
}

// assess fills in figures and complaints.
func (c *campaign) assess(l loss, r *roundResult, seen notes, by rules) error {
	h := harm{At: r.At, Primary: l.primary, NoneLeft: l.all, Restart: l.restart}
	for _, n := range l.nodes {
		h.Nodes = append(h.Nodes, n.Name)
	}
	all, err := c.failovers()
	if err != nil {
		return err
	}
	failover, missing := involving(all, l.nodes[0].ID, r.At)
	h.Fenced = failover.Fenced
	r.Errors = errorsOf(h, seen.Attempts)
	c.harms = append(c.harms, h)
	switch {
	case l.free:
	case missing != nil && !l.stays:
		r.complain(complaint{"pgpool fails over", missing.Error()})
	case missing == nil && l.stays:
		r.complain(complaint{"pgpool keeps what serves", fmt.Sprintf("node %d was condemned", l.nodes[0].ID)})
	}
	outage, ok := longestGap(seen.Attempts, r.At, seen.Until)
	if ok {
		r.Outage = outage.length()
	}
	r.Phases, err = c.phases(r.At, failover, outage)
	if err != nil {
		return err
	}
	r.Writes, r.Reads = answered(seen.Attempts, writer), answered(seen.Attempts, reader)
	if !c.opts.peer && !l.restart {
		r.complain(judge(h, seen, by)...)
	}
	return nil
}

// answered counts the acknowledged attempts of a role.
func answered(attempts []attempt, r role) int {
	n := 0
	for _, a := range attempts {
		if a.Role == r && a.Fault == nil {
			n++
		}
	}
	return n
}

// phases reads the new primary's log for the end of its recovery.
func (c *campaign) phases(at time.Time, f failoverSeen, outage gap) (phases, error) {
	var ready []time.Time
	if f.Primary >= 0 && f.Primary < len(c.cluster.Nodes) {
		logs, err := c.serverLogs()
		if err != nil {
			return phases{}, err
		}
		ready = logs[f.Primary].Ready
	}
	return stepsSince(at, f, ready, outage), nil
}

// conclude halts the idle clients, compares the rows and hears the witness.
func (c *campaign) conclude(ctx context.Context) (runResult, error) {
	r := &c.result
	idle := c.idle.gather(c.rows)
	if !c.opts.peer {
		r.Findings = append(r.Findings, c.judgeIdle(idle)...)
	}
	r.IdleReads = answered(idle.Attempts, idler)
	primary, err := c.primary(ctx)
	if err != nil {
		return *r, err
	}
	rows, err := c.found(ctx, primary)
	if err != nil {
		return *r, err
	}
	r.Fates = rowFates(c.attempts, rows)
	if len(c.volleys) > 0 {
		answers := compareAnswers(c.volleys, rows, r.Lossless)
		r.Answers = &answers
	}
	if err := c.hearWitness(); err != nil {
		return *r, err
	}
	r.Notes = c.notes
	r.sum(c.opts)
	return *r, nil
}

// judgeIdle holds each fault of the idle clients against the last harm before it.
func (c *campaign) judgeIdle(idle notes) []string {
	if c.planned {
		return summary(flawless(idle.Attempts))
	}
	var all []complaint
	slices.SortStableFunc(c.harms, func(a, b harm) int { return a.At.Compare(b.At) }) // noted as they were judged
	for i, h := range c.harms {
		until := time.Now()
		if i+1 < len(c.harms) {
			until = c.harms[i+1].At
		}
		if h.Restart {
			continue
		}
		var n notes
		for _, a := range idle.Attempts {
			if a.Fault != nil && !a.Done.Before(h.At) && a.Done.Before(until) {
				n.Attempts = append(n.Attempts, a)
			}
		}
		all = append(all, judge(h, n, rules{Unaided: c.unaided()})...)
	}
	for _, a := range idle.Attempts {
		if len(c.harms) > 0 && a.Fault != nil && a.Done.Before(c.harms[0].At) {
			all = append(all, complaint{ruleInFlight, "before any harm: " + a.String()})
		}
	}
	return summary(all)
}

func (c *campaign) hearWitness() error {
	logs, err := c.serverLogs()
	if err != nil {
		return err
	}
	all, err := c.failovers()
	if err != nil {
		return err
	}
	c.result.Testimony = testify(evidence{
		Logs: logs, Condemned: condemnations(all), Freezes: c.freezes, Dispatch: dispatches(c.attempts),
	})
	return nil
}

// wait lets time pass, which is what a warm-up is.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
