package main

import (
	"fmt"
	"slices"
	"time"
)

// volley is what committers noted of one loss of the primary.
type volley struct {
	Fenced   time.Time // until then the old primary could still answer
	Hit, End time.Time // the loss began, and was complete
	Attempts []attempt
}

// outcomes are the answers to COMMITs and single writes that were in flight when their server was lost, held against the rows.
type outcomes struct {
	Kills   int      `json:"kills"` // of servers
	Commits answers  `json:"commits"`
	Singles answers  `json:"single_writes"`       // outside of transaction blocks
	Lost    int      `json:"lost_asynchronously"` // acknowledged by the old primary itself, which had not sent the row to the new one
	Wrong   []string `json:"wrong,omitempty"`
}

// answers to what was in flight: sent before the server was gone, and not answered before.
type answers struct {
	InFlight     int `json:"in_flight"`
	Committed    int `json:"told_committed"`
	RolledBack   int `json:"told_rolled_back"`
	Unknown      int `json:"told_unknown"`
	UnknownThere int `json:"told_unknown_but_there"`
}

// inFlight tells whether the end of a transaction had been sent and not been answered when the server was lost.
func (v volley) inFlight(a attempt) bool {
	if a.Role != writer || a.Committing.IsZero() || a.Committing.After(v.End) {
		return false
	}
	return a.Done.After(v.End) || a.Fault != nil && a.Done.After(v.Hit)
}

// compareAnswers holds the answers against the rows on the primary in force at the end. lossless: acknowledged rows may not be lost.
func compareAnswers(volleys []volley, rows map[rowID]int, lossless bool) outcomes {
	o := outcomes{Kills: len(volleys)}
	for _, v := range volleys {
		for _, a := range v.Attempts {
			if a.Role != writer || a.Committing.IsZero() {
				continue
			}
			in := v.inFlight(a)
			switch there := rows[rowID{a.Client, a.Seq}] > 0; {
			case in && a.Block:
				o.Commits.count(a.Outcome, there)
			case in:
				o.Singles.count(a.Outcome, there)
			}
			o.judge(v, a, rows[rowID{a.Client, a.Seq}], in, lossless)
		}
	}
	o.Wrong = bounded(o.Wrong)
	return o
}

func (n *answers) count(told outcome, there bool) {
	n.InFlight++
	switch told {
	case acknowledged:
		n.Committed++
	case refused:
		n.RolledBack++
	case unknown:
		n.Unknown++
		if there {
			n.UnknownThere++
		}
	}
}

// judge finds an answer that is not true. What was acknowledged after the old primary was out of use was found at the new one, or done
// there: it has to be there.
func (o *outcomes) judge(v volley, a attempt, there int, inFlight, lossless bool) {
	what := ""
	switch {
	case there > 1:
		what = fmt.Sprintf("is there %d times", there)
	case a.Outcome == refused && there > 0:
		what = "is there, but was said not to be"
	case a.Outcome != acknowledged || there > 0:
	case lossless || inFlight && a.Done.After(v.Fenced.Add(clockStep)):
		what = "is not there, but was said to be"
	default:
		o.Lost++
	}
	if what != "" {
		o.Wrong = append(o.Wrong, fmt.Sprintf("%s %s: %s", rowID{a.Client, a.Seq}, what, a))
	}
}

// share of what nobody could tell, in percent.
func (n answers) share() float64 {
	if n.InFlight == 0 {
		return 0
	}
	return 100 * float64(n.Unknown) / float64(n.InFlight)
}

func (n answers) String() string {
	return fmt.Sprintf("%d in flight: %d told to be committed, %d to be rolled back, %d of unknown fate (%.1f %%; %d of them are there)",
		n.InFlight, n.Committed, n.RolledBack, n.Unknown, n.share(), n.UnknownThere)
}

func (o outcomes) String() string {
	return fmt.Sprintf("at %d losses of the primary, COMMITs %s; single writes %s; %d wrong answers; %d rows lost that the old primary had acknowledged",
		o.Kills, o.Commits, o.Singles, len(o.Wrong), o.Lost)
}

func (n answers) add(b answers) answers {
	return answers{
		InFlight: n.InFlight + b.InFlight, Committed: n.Committed + b.Committed, RolledBack: n.RolledBack + b.RolledBack,
		Unknown: n.Unknown + b.Unknown, UnknownThere: n.UnknownThere + b.UnknownThere,
	}
}

// add sums up the runs.
func (o outcomes) add(b outcomes) outcomes {
	return outcomes{
		Kills: o.Kills + b.Kills, Commits: o.Commits.add(b.Commits), Singles: o.Singles.add(b.Singles), Lost: o.Lost + b.Lost,
		Wrong: slices.Concat(o.Wrong, b.Wrong),
	}
}
