package main

import (
	"fmt"
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
	Kills        int      `json:"kills"`     // of servers
	InFlight     int      `json:"in_flight"` // sent before the server was gone, and not answered before
	Committed    int      `json:"told_committed"`
	RolledBack   int      `json:"told_rolled_back"`
	Unknown      int      `json:"told_unknown"`
	UnknownThere int      `json:"told_unknown_but_there"`
	Lost         int      `json:"lost_asynchronously"` // acknowledged by the old primary itself, which had not sent the row to the new one
	Wrong        []string `json:"wrong,omitempty"`
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
			if in {
				o.count(a, rows[rowID{a.Client, a.Seq}] > 0)
			}
			o.judge(v, a, rows[rowID{a.Client, a.Seq}], in, lossless)
		}
	}
	o.Wrong = bounded(o.Wrong)
	return o
}

func (o *outcomes) count(a attempt, there bool) {
	o.InFlight++
	switch a.Outcome {
	case acknowledged:
		o.Committed++
	case refused:
		o.RolledBack++
	case unknown:
		o.Unknown++
		if there {
			o.UnknownThere++
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

// share of the answers in flight that told nothing, in percent.
func (o outcomes) share() float64 {
	if o.InFlight == 0 {
		return 0
	}
	return 100 * float64(o.Unknown) / float64(o.InFlight)
}

func (o outcomes) String() string {
	return fmt.Sprintf("%d COMMITs in flight at %d losses of the primary: %d told to be committed, %d to be rolled back, %d of unknown fate "+
		"(%.1f %%; %d of them are there); %d wrong answers; %d rows lost that the old primary had acknowledged",
		o.InFlight, o.Kills, o.Committed, o.RolledBack, o.Unknown, o.share(), o.UnknownThere, len(o.Wrong), o.Lost)
}

// add sums up the runs.
func (o outcomes) add(b outcomes) outcomes {
	return outcomes{
		Kills: o.Kills + b.Kills, InFlight: o.InFlight + b.InFlight, Committed: o.Committed + b.Committed,
		RolledBack: o.RolledBack + b.RolledBack, Unknown: o.Unknown + b.Unknown, UnknownThere: o.UnknownThere + b.UnknownThere,
		Lost: o.Lost + b.Lost, Wrong: append(append([]string(nil), o.Wrong...), b.Wrong...),
	}
}
