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

// ordeal is one row of the run "patroni": something that happens to servers or pgpool while it promotes by itself.
type ordeal struct {
	name string
	// stage is what it needs beyond the common stage; rows with equal names share one.
	stage string
	root  bool // it mounts or cuts
	// prepare is done before the clients begin.
	prepare func(ctx context.Context, c *campaign, primary *pgcluster.Node) error
	do      func(ctx context.Context, t *trial) error
}

// trial is a row at work.
type trial struct {
	*campaign
	primary  *pgcluster.Node
	standbys []*pgcluster.Node
	fleet    *fleet
	r        roundResult
	// loss is what the clients are judged by.
	loss loss
	// flawless: nobody may see an error.
	flawless bool
	// lossless: no acknowledged row may be missing, though standbys are asynchronous.
	lossless bool
	// bystanders are functions that end what watches, in the order they were begun.
	bystanders []func()
	// checks are done when all nodes are back, or have had their time.
	checks []func(whole bool)
}

// later has something looked at when all nodes are back, or have had their time.
func (t *trial) later(check func(whole bool)) { t.checks = append(t.checks, check) }

// look does the checks, and ends what watches and writes beside the clients: what the harness does afterwards is none of its business.
func (t *trial) look(whole bool) {
	for _, end := range t.bystanders {
		end()
	}
	for _, check := range t.checks {
		check(whole)
	}
}

// harmed notes that the harm is being done.
func (t *trial) harmed(l loss) {
	t.loss = l
	at := t.r.At
	t.r.At = time.Now()
	if !at.IsZero() { // the first one counts
		t.r.At = at
	}
	t.r.Nodes = nil
	for _, n := range l.nodes {
		t.r.Nodes = append(t.r.Nodes, n.ID)
	}
}

// lose does a harm and notes it.
func (t *trial) lose(ctx context.Context, l loss) error {
	t.harmed(l)
	_, err := t.inflict(ctx, l)
	return err
}

func (t *trial) complain(rule, format string, args ...any) {
	t.r.complain(complaint{rule, fmt.Sprintf(format, args...)})
}

// try performs a row.
func (c *campaign) try(ctx context.Context, number int, o ordeal) error {
	fmt.Printf("patroni: %s\n", o.name)
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	if o.prepare != nil {
		if err := o.prepare(ctx, c, primary); err != nil {
			return err
		}
	}
	f, err := c.atWork(ctx, c.workers())
	if err != nil {
		return err
	}
	defer f.halt()
	t := &trial{
		campaign: c, primary: primary, standbys: c.standbysOf(primary), fleet: f,
		r: roundResult{Number: number + 1, Harm: o.name},
	}
	defer func() {
		for _, end := range t.bystanders {
			end()
		}
	}()
	if err := o.do(ctx, t); err != nil {
		return err
	}
	if err := c.awaitWorkers(ctx, f, c.workers()); err != nil {
		t.complain(ruleAnswer, "not all clients work %s later: %v", recovery, err)
	}
	t.r.Recovered = time.Since(t.r.At)
	seen, err := c.settle(ctx, f, &t.r, t.look)
	if err != nil {
		return err
	}
	return t.judge(ctx, seen)
}

// judge holds the notes of a row against what the row says.
func (t *trial) judge(ctx context.Context, seen notes) error {
	if t.flawless {
		t.r.complain(flawless(seen.Attempts)...)
	}
	if t.lossless {
		primary, err := t.campaign.primary(ctx)
		if err != nil {
			return err
		}
		rows, err := t.found(ctx, primary)
		if err != nil {
			return err
		}
		if lost := rowFates(seen.Attempts, rows).Lost; len(lost) > 0 {
			t.complain("no acknowledged row is lost", "%d are, first %s", len(lost), lost[0])
		}
	}
	if err := t.assess(t.loss, &t.r, seen, rules{Patience: unneeded, Unaided: true}); err != nil {
		return err
	}
	t.result.Rounds = append(t.result.Rounds, t.r)
	t.r.print(os.Stdout)
	return nil
}

// ordealRun performs the wanted rows. What is found of rows and witness is summed up over the stages.
func ordealRun(ctx context.Context, o options) (runResult, error) {
	o.clients, o.idlers = min(o.clients, 16), min(o.idlers, 4)
	all := runResult{Name: "patroni", Unaided: true}
	for _, stage := range []string{"", "disk", "slots", "password"} {
		var rows []ordeal
		for _, row := range ordeals() {
			if row.stage == stage && o.rows.MatchString(row.name) {
				rows = append(rows, row)
			}
		}
		if len(rows) == 0 {
			continue
		}
		r, err := performOn(ctx, o, stage, rows)
		all = all.joined(r)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// performOn performs rows on one stage.
func performOn(ctx context.Context, o options, stage string, rows []ordeal) (_ runResult, err error) {
	how := staging{
		Unaided: true, Slots: stage == "slots",
		InitdbArgs: []string{"--no-locale", "-E", "UTF8", "--wal-segsize=1"}, // so that a small disk is filled soon
		Servers:    map[string]string{"wal_keep_size": "48MB", "min_wal_size": "2MB", "max_wal_size": "64MB"},
	}
	if stage == "password" {
		how.Password = "fair and square"
		how.Conf = map[string]string{"recovery_user": "postgres", "recovery_password": how.Password}
	}
	c, err := newCampaign(ctx, o, strings.TrimSuffix("patroni-"+stage, "-"), how)
	if err != nil {
		return runResult{}, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	for i, row := range rows {
		if row.root && !o.inside {
			c.stage.notes = append(c.stage.notes, row.name+" was left out: it needs a mount or a network namespace")
			continue
		}
		if err := c.try(ctx, i, row); err != nil {
			return c.result, fmt.Errorf("%s: %w", row.name, err)
		}
	}
	return c.conclude(ctx)
}

// joined is two parts of a run as one.
func (r runResult) joined(b runResult) runResult {
	for _, one := range b.Rounds {
		one.Number = len(r.Rounds) + 1
		r.Rounds = append(r.Rounds, one)
	}
	r.Notes, r.Findings = append(r.Notes, b.Notes...), append(r.Findings, b.Findings...)
	r.IdleReads += b.IdleReads
	r.Fates, r.Testimony = r.Fates.joined(b.Fates), r.Testimony.joined(b.Testimony)
	var outages []time.Duration
	for _, one := range r.Rounds {
		outages = append(outages, one.Outage)
	}
	r.Outage = spreadOf(outages)
	return r
}

func (f fates) joined(b fates) fates {
	return fates{
		Acknowledged: f.Acknowledged + b.Acknowledged, Unknown: f.Unknown + b.Unknown, Survived: f.Survived + b.Survived,
		Lost: append(f.Lost, b.Lost...), Twice: append(f.Twice, b.Twice...), Ghosts: append(f.Ghosts, b.Ghosts...),
	}
}

func (t testimony) joined(b testimony) testimony {
	return testimony{
		Accepted: t.Accepted + b.Accepted, Statements: t.Statements + b.Statements, Reigns: t.Reigns + b.Reigns,
		Unopened: t.Unopened + b.Unopened, InTransit: t.InTransit + b.InTransit,
		Late: append(t.Late, b.Late...), Overlaps: append(t.Overlaps, b.Overlaps...), Stale: append(t.Stale, b.Stale...),
	}
}

// awaitLog waits until pgpool's log, from its end now on, has a line with a text. The function that is returned waits.
func (t *trial) awaitLog(text string) func(ctx context.Context) error {
	before, _ := t.pool.LogText() // what is not there has no end
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, recovery)
		defer cancel()
		return pgcluster.Poll(ctx, "pgpool logs "+text, func() (bool, error) {
			now, err := t.pool.LogText()
			return err == nil && strings.Contains(now[min(len(before), len(now)):], text), err
		})
	}
}
