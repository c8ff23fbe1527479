package main

import (
	"fmt"
	"strings"
	"time"
)

// harm is what was done and how far its traces reach.
type harm struct {
	At       time.Time
	Fenced   time.Time // until then statements may still have gone to the lost node; zero: nothing was fenced
	Nodes    []string  // cluster_names of the lost nodes
	Primary  bool      // the primary is among them
	NoneLeft bool      // no server is left: clients are refused until one is back
	Restart  bool      // pgpool itself was stopped: nothing is judged
}

// diskFull is the SQLSTATE of a full disk.
const diskFull = "53100"

// unresolved is the SQLSTATE of a transaction whose fate nobody knows, rolledBack that of one that was rolled back and may be repeated.
const unresolved, rolledBack = "08007", "40001"

// rules are what clients may feel.
type rules struct {
	// Patience is the longest time a client that does not need a lost node may wait for an answer. A writer needs the primary.
	Patience time.Duration
	// Unaided: pgpool promotes by itself, runs lost reads again and finds out what has become of a COMMIT.
	Unaided bool
}

// complaint is one breach of the rules.
type complaint struct{ Rule, Text string }

func (c complaint) String() string { return c.Rule + ": " + c.Text }

// The rules by name.
const (
	ruleInFlight = "errors only for statements in flight"
	ruleProper   = "errors are ErrorResponses with their own SQLSTATE, never XX000"
	ruleTells    = "an error says whether the statement may have taken effect"
	ruleOthers   = "sessions that do not use the lost node see nothing"
	ruleIdle     = "no session is cut while idle"
	ruleAnswer   = "every statement is answered"
	ruleTruth    = "answers are true"
	ruleOnce     = "one error for each session and lost node"
	ruleStall    = "nobody waits for a node he does not need"
	ruleReads    = "a read that was lost is run again"
	ruleUnknown  = "what may have taken effect is told as 08007"
	ruleFlawless = "a planned switchover costs nobody an error"
)

// judge holds the attempts of one harm against the rules.
func judge(h harm, n notes, r rules) []complaint {
	var all []complaint
	add := func(rule, format string, args ...any) {
		all = append(all, complaint{rule, fmt.Sprintf(format, args...)})
	}
	told := map[string]int{}
	for _, a := range n.Attempts {
		if a.Fault == nil {
			continue
		}
		for _, rule := range breaches(h, a) {
			add(rule, "%s", a)
		}
		if rule := breachUnaided(h, a); r.Unaided && rule != "" {
			add(rule, "%s", a)
		}
		// A server that panics over a full disk says so first, and may be logged in to until it is gone.
		if a.Fault.During == atWork && !h.NoneLeft && a.Fault.Code != diskFull {
			who := fmt.Sprintf("%s %d", a.Role, a.Client)
			if told[who]++; told[who] == 1+max(1, len(h.Nodes)) {
				add(ruleOnce, "%s got %d errors, the last: %s", who, told[who], a)
			}
		}
	}
	return append(all, stalls(h, n, r)...)
}

// breaches are the rules one fault breaks.
func breaches(h harm, a attempt) []string {
	f := a.Fault
	var rules []string
	broken := func(rule string, is bool) {
		if is {
			rules = append(rules, rule)
		}
	}
	broken(ruleTruth, f.Wrong)
	broken(ruleAnswer, f.Hung)
	broken(ruleProper, f.bare() || f.Code == "XX000")
	broken(ruleIdle, f.During == atRest)
	broken(ruleTells, f.During == atWork && f.lost() && !f.tells())
	if h.NoneLeft || f.Wrong || f.Hung || f.During == atRest {
		return rules
	}
	broken(ruleOthers, f.During == atWork && !h.uses(a))
	inFlight := f.During == atWork && !a.Sent.After(h.Fenced.Add(clockStep)) && !a.Done.Before(h.At)
	broken(ruleInFlight, !inFlight)
	return rules
}

// breachUnaided is the rule that a fault breaks where pgpool promotes by itself; empty for none.
func breachUnaided(h harm, a attempt) string {
	f := a.Fault
	switch {
	case h.NoneLeft || f.During != atWork || f.Wrong || f.Hung || f.Code == diskFull:
		return ""
	case a.Role != writer:
		return ruleReads
	case a.Outcome == unknown && f.Code != unresolved:
		return ruleUnknown
	}
	return ""
}

// flawless complains about every fault: nothing was lost.
func flawless(attempts []attempt) []complaint {
	var all []complaint
	for _, a := range attempts {
		if a.Fault != nil {
			all = append(all, complaint{ruleFlawless, a.String()})
		}
	}
	return all
}

// uses tells whether the attempt may have been on a lost node. A reader or idle client whose server is not known may.
func (h harm) uses(a attempt) bool {
	if a.Role == writer {
		return h.Primary
	}
	if a.Node == "" {
		return true
	}
	for _, lost := range h.Nodes {
		if a.Node == lost {
			return true
		}
	}
	return false
}

// stalls looks at the longest waits of those who did not need a lost node.
func stalls(h harm, n notes, r rules) []complaint {
	if r.Patience == 0 || h.NoneLeft {
		return nil
	}
	var all []complaint
	for _, a := range n.Slowest {
		if a.Sent.IsZero() || a.took() <= r.Patience || h.uses(a) {
			continue
		}
		all = append(all, complaint{ruleStall, a.String()})
	}
	return all
}

// summary groups complaints by rule, with the first of each.
func summary(all []complaint) []string {
	rules, counts := countBy(all, func(c complaint) string { return c.Rule })
	var lines []string
	for _, rule := range rules {
		for _, c := range all {
			if c.Rule == rule {
				lines = append(lines, fmt.Sprintf("%d × %s; first: %s", counts[rule], rule, strings.ReplaceAll(c.Text, "\n", " ")))
				break
			}
		}
	}
	return lines
}
