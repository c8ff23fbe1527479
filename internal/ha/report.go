package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// report is all that was found; results.json is this, as it stands. Durations are in nanoseconds.
type report struct {
	Started  time.Time   `json:"started"`
	Options  description `json:"options"`
	Runs     []runResult `json:"runs"`
	Findings []string    `json:"findings"`
}

// description is under which conditions it was found.
type description struct {
	Pgpool     string        `json:"pgpool"`
	Rounds     int           `json:"rounds"`
	Writers    int           `json:"writers"`
	Readers    int           `json:"readers"`
	Idlers     int           `json:"idle_clients"`
	Think      time.Duration `json:"pause_between_statements"`
	Processors int           `json:"processors"`
}

func describe(o options) description {
	return description{
		Pgpool: filepath.Base(o.pgpool), Rounds: o.rounds, Writers: o.clients, Readers: o.clients, Idlers: o.idlers, Think: o.think,
		Processors: runtime.NumCPU(),
	}
}

// errorCount is how often clients saw one class of error.
type errorCount struct {
	Class    string `json:"class"`
	Role     string `json:"role"`
	Count    int    `json:"count"`
	InFlight int    `json:"in_flight"` // sent before the lost node was fenced
	Cut      int    `json:"cut"`       // the connection was over
}

// roundResult is one harm and what came of it.
type roundResult struct {
	Number     int           `json:"number"`
	Harm       string        `json:"harm"`
	Nodes      []int         `json:"nodes"`
	At         time.Time     `json:"at"`
	Outage     time.Duration `json:"outage"`
	Recovered  time.Duration `json:"recovered"` // every client worked again
	Phases     phases        `json:"phases"`
	Writes     int           `json:"acknowledged_writes"`
	Reads      int           `json:"answered_reads"`
	Errors     []errorCount  `json:"errors,omitempty"`
	Complaints []string      `json:"complaints,omitempty"`
	Seen       []poolNode    `json:"pool_nodes,omitempty"` // after the harm, in the matrix
	Back       time.Duration `json:"back,omitempty"`       // all nodes were up and streamed again, without a hand
	Waits      *waits        `json:"waits,omitempty"`      // of a switchover
	complaints []complaint
}

func (r *roundResult) complain(all ...complaint) {
	r.complaints = append(r.complaints, all...)
	r.Complaints = summary(r.complaints)
}

// runResult is one run.
type runResult struct {
	Name        string        `json:"name"`
	Synchronous bool          `json:"synchronous,omitempty"`
	Lossless    bool          `json:"lossless,omitempty"` // no acknowledged row may be lost
	Unaided     bool          `json:"unaided,omitempty"`
	Peer        bool          `json:"peer,omitempty"`
	Rounds      []roundResult `json:"rounds"`
	Outage      spread        `json:"outage"`
	Fates       fates         `json:"rows"`
	Testimony   testimony     `json:"witness"`
	Waits       waits         `json:"waits,omitzero"` // of all switchovers
	Answers     *outcomes     `json:"commit_outcomes,omitempty"`
	IdleReads   int           `json:"idle_clients_reads"`
	Notes       []string      `json:"notes,omitempty"`
	Findings    []string      `json:"findings,omitempty"`
	intruders   int           // that there were
}

// errorsOf counts the errors of a round.
func errorsOf(h harm, attempts []attempt) []errorCount {
	var faults []attempt
	for _, a := range attempts {
		if a.Fault != nil {
			faults = append(faults, a)
		}
	}
	key := func(a attempt) string {
		return a.Role.String() + ": " + momentNames[a.Fault.During] + ": " + a.Fault.class()
	}
	keys, counts := countBy(faults, key)
	var all []errorCount
	for _, k := range keys {
		who, what, _ := strings.Cut(k, ": ")
		e := errorCount{Role: who, Class: what, Count: counts[k]}
		for _, a := range faults {
			if key(a) != k {
				continue
			}
			if a.Fault.During == atWork && !a.Sent.After(h.Fenced.Add(clockStep)) {
				e.InFlight++
			}
			if a.Fault.Cut {
				e.Cut++
			}
		}
		all = append(all, e)
	}
	return all
}

// sum draws the conclusions of a run.
func (r *runResult) sum(o options) {
	var outages []time.Duration
	for _, one := range r.Rounds {
		outages = append(outages, one.Outage)
		for _, c := range one.Complaints {
			r.Findings = append(r.Findings, fmt.Sprintf("round %d (%s of node %v): %s", one.Number, one.Harm, one.Nodes, c))
		}
	}
	r.Outage = spreadOf(outages)
	add := func(what string, all []string) {
		if len(all) > 0 {
			r.Findings = append(r.Findings, fmt.Sprintf("%d × %s; first: %s", len(all), what, all[0]))
		}
	}
	add("two nodes accepted writes at one time", r.Testimony.Overlaps)
	add("a statement ran on a connection opened before its node was condemned", r.Testimony.Stale)
	add("a row is there twice", r.Fates.Twice)
	add("a row is there that must not be", r.Fates.Ghosts)
	if r.Lossless {
		add("an acknowledged row is lost", r.Fates.Lost)
	}
	if r.Answers != nil {
		add("a wrong answer to a COMMIT", r.Answers.Wrong)
	}
	if r.Testimony.Accepted == 0 {
		r.Findings = append(r.Findings, "the servers' logs show no write through pgpool")
	}
	if (r.Name == "primary" || r.Name == "auto" || r.Name == "autosync") && !r.Peer && r.Outage.Median > o.outage {
		r.Findings = append(r.Findings, fmt.Sprintf("the median outage is %s, allowed is %s", ms(r.Outage.Median), ms(o.outage)))
	}
}

func (r report) findings() []string {
	all := []string{}
	for _, one := range r.Runs {
		for _, f := range one.Findings {
			all = append(all, one.Name+": "+f)
		}
	}
	return all
}

func ms(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// print shows a round as soon as it is over.
func (r roundResult) print(w io.Writer) {
	p := r.Phases
	fmt.Fprintf(w, "%3d %-26s node %-9s outage %s  detected %s  command %s  promoted %s  found %s  first write %s  %d writes %d reads\n",
		r.Number, r.Harm, ids(r.Nodes), ms(r.Outage), ms(p.Detected), ms(p.Command), ms(p.Promoted), ms(p.Found), ms(p.FirstAck),
		r.Writes, r.Reads)
	if r.Waits != nil {
		fmt.Fprintf(w, "      over after %s; waited: writes %s; all %s\n", ms(r.Recovered), r.Waits.Writes, r.Waits.All)
	}
	if r.Back > 0 {
		fmt.Fprintf(w, "      all nodes stream again after %s\n", ms(r.Back))
	}
	for _, e := range r.Errors {
		fmt.Fprintf(w, "      %4d × %s: %s (%d in flight, %d cut)\n", e.Count, e.Role, e.Class, e.InFlight, e.Cut)
	}
	for _, c := range r.Complaints {
		fmt.Fprintf(w, "      FOUND %s\n", c)
	}
}

func ids(nodes []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(nodes), " ", ","), "[]")
}

// print shows the sums of a run.
func (r runResult) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %d rounds, outage median %s min %s max %s\n", r.Name, len(r.Rounds), ms(r.Outage.Median), ms(r.Outage.Min), ms(r.Outage.Max))
	fmt.Fprintf(w, "  rows: %s\n  witness: %s\n", r.Fates, r.Testimony)
	if r.Answers != nil {
		fmt.Fprintf(w, "  answers: %s\n", r.Answers)
	}
	if r.Waits.All.Count > 0 {
		fmt.Fprintf(w, "  waited: writes %s; all %s\n", r.Waits.Writes, r.Waits.All)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "  note: %s\n", n)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "  FOUND %s\n", f)
	}
}

func (f fates) String() string {
	return fmt.Sprintf("%d acknowledged, %d of them lost; %d of unknown fate, %d of them there; %d there twice, %d that must not be there",
		f.Acknowledged, len(f.Lost), f.Unknown, f.Survived, len(f.Twice), len(f.Ghosts))
}

func (t testimony) String() string {
	return fmt.Sprintf("%d statements, %d writes accepted in %d reigns of primaries; %d overlaps, %d statements on old connections, "+
		"%d in transit, %d late ones of thawed servers", t.Statements, t.Accepted, t.Reigns, len(t.Overlaps), len(t.Stale), t.InTransit, len(t.Late))
}

// write puts results.json and results.md into dir.
func (r report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	js, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	var md strings.Builder
	r.markdown(&md)
	for name, text := range map[string]string{"results.json": string(js) + "\n", "results.md": md.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// markdown writes the report for people.
func (r report) markdown(w io.Writer) {
	o := r.Options
	fmt.Fprintf(w, "# High availability under fire\n\nWritten by `make ha` on %s: %s before a primary and two standbys, %d writing, %d reading and "+
		"%d idle clients\nthat pause %s between statements, all on one machine with %d processors. How to read it: [ha.md](../ha.md).\n\n",
		r.Started.UTC().Format("2006-01-02"), o.Pgpool, o.Writers, o.Readers, o.Idlers, o.Think, o.Processors)
	fmt.Fprintf(w, "| run | rounds | outage median | min | max | acknowledged rows | lost | twice | overlaps | on old connections |\n"+
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, one := range r.Runs {
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %d | %d | %d | %d | %d |\n", one.Name, len(one.Rounds), ms(one.Outage.Median),
			ms(one.Outage.Min), ms(one.Outage.Max), one.Fates.Acknowledged, len(one.Fates.Lost), len(one.Fates.Twice),
			len(one.Testimony.Overlaps), len(one.Testimony.Stale))
	}
	var answers outcomes
	for _, one := range r.Runs {
		if one.Answers != nil {
			answers = answers.add(*one.Answers)
		}
	}
	if answers.Kills > 0 {
		fmt.Fprintf(w, "\nAnswers to COMMIT, of all runs: %s.\n", answers)
	}
	for _, one := range r.Runs {
		one.markdown(w)
	}
	fmt.Fprintf(w, "\n## Findings\n\n")
	if len(r.Findings) == 0 {
		fmt.Fprintf(w, "None.\n")
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "- %s\n", f)
	}
}

func (r runResult) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\nRows: %s.\nWitness: %s.\n", r.Name, r.Fates, r.Testimony)
	if r.Answers != nil {
		fmt.Fprintf(w, "Answers: %s.\n", r.Answers)
	}
	if r.Waits.All.Count > 0 {
		fmt.Fprintf(w, "Waited: writes %s; all statements %s.\n", r.Waits.Writes, r.Waits.All)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "Note: %s.\n", n)
	}
	chosen, last, lastCell := "command", "pool_nodes", func(one roundResult) string { return nodeCells(one.Seen) }
	if r.Unaided {
		chosen, last, lastCell = "chosen", "all stream again", func(one roundResult) string { return ms(one.Back) }
	}
	fmt.Fprintf(w, "\n| | harm | node | outage | detected | %s | promoted | found | first write | errors (in flight) | %s |\n"+
		"|--:|---|---|--:|--:|--:|--:|--:|--:|---|---|\n", chosen, last)
	for _, one := range r.Rounds {
		p := one.Phases
		fmt.Fprintf(w, "| %d | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", one.Number, one.Harm, ids(one.Nodes), ms(one.Outage),
			ms(p.Detected), ms(p.Command), ms(p.Promoted), ms(p.Found), ms(p.FirstAck), errorCells(one.Errors), lastCell(one))
	}
}

func errorCells(all []errorCount) string {
	var cells []string
	for _, e := range all {
		cells = append(cells, fmt.Sprintf("%d (%d) %s: %s", e.Count, e.InFlight, e.Role, strings.ReplaceAll(e.Class, "|", `\|`)))
	}
	return strings.Join(cells, "<br>")
}

func nodeCells(all []poolNode) string {
	var cells []string
	for _, n := range all {
		cells = append(cells, n.Status+" "+n.Role)
	}
	return strings.Join(cells, ", ")
}
