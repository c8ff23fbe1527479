package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// outcome of a unit of work, as its client was told.
type outcome uint8

const (
	acknowledged outcome = iota
	refused              // it has had no effect
	unknown
)

var outcomeNames = [...]string{"acknowledged", "refused", "unknown"}

func (o outcome) String() string { return outcomeNames[o] }

// rowID names a row: its client and the number it gave.
type rowID struct{ Client, Seq int }

// place is where a write happened: who wrote it, on which timeline, and how much log there was.
type place struct {
	Server, Timeline string
	LSN              uint64
}

func (p place) branch() string { return p.Server + "/" + p.Timeline }

// attempt is a unit of work: one statement or one transaction. Seqs are the rows it writes; none for reads and logins.
type attempt struct {
	Client     int
	Kind       string
	Seqs       []int
	Sent, Done time.Time
	Outcome    outcome
	At         place // of acknowledged writes, where it was told
	Login      bool
	Fault      *fault
}

func (a attempt) String() string {
	text := fmt.Sprintf("%s client %d %s %v, sent %s, answered %s (%s)", a.Outcome, a.Client, a.Kind, a.Seqs, clock(a.Sent), clock(a.Done),
		a.Done.Sub(a.Sent).Round(time.Millisecond))
	if a.At.Server != "" {
		text += fmt.Sprintf(" by %s at %X", a.At.branch(), a.At.LSN)
	}
	if a.Fault != nil {
		text += ": " + a.Fault.String()
	}
	return text
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// fault is what came in place of an answer.
type fault struct {
	Code, Message, Detail string
	Cut, Hung             bool
	Wrong                 bool // an answer came, but a false one
}

func (f *fault) String() string {
	text := fmt.Sprintf("%s %s (%s)", f.Code, f.Message, f.Detail)
	for word, is := range map[string]bool{" [cut]": f.Cut, " [hung]": f.Hung, " [wrong answer]": f.Wrong} {
		if is {
			text += word
		}
	}
	return text
}

// faultOf reads an error of the driver; last is what the server said last, if the connection is over.
func faultOf(err error, cut bool, last *pgconn.PgError) *fault {
	var e *pgconn.PgError
	if !errors.As(err, &e) && cut {
		e = last
	}
	f := &fault{Cut: cut}
	switch {
	case e != nil:
		f.Code, f.Message, f.Detail = e.Code, e.Message, e.Detail
	case pgconn.Timeout(err):
		f.Hung, f.Message = true, err.Error()
	default:
		f.Message = err.Error()
	}
	return f
}

// What pgpool says about a statement it has lost, or never sent.
const (
	noEffect    = "had no effect"
	maybeEffect = "may have taken effect"
	notRunning  = "nothing was running there"
)

func (f *fault) says(what string) bool { return strings.Contains(f.Message+f.Detail, what) }

// lost: the statement's server, or pgpool itself, went.
func (f *fault) lost() bool {
	return f.Code == "" || f.Code[:2] == "08" || f.Code[:2] == "57" && f.Code != "57014" || f.Code[:2] == "XX" || f.Code == "40003"
}

// unsent: there was no server to send the statement to.
func (f *fault) unsent() bool { return f.Code == "08S01" || f.Code == "08001" || f.says(notRunning) }

// outcomeOf is what an error means. committing: the end of the transaction may have been on its way.
func outcomeOf(f *fault, committing bool) outcome {
	switch {
	case f.says(noEffect), !committing, f.unsent():
		return refused
	case f.says(maybeEffect), f.lost():
		return unknown
	}
	return refused
}

// span is a time in which something was allowed.
type span struct{ From, To time.Time }

func (s span) touches(a attempt) bool { return !a.Done.Before(s.From) && !a.Sent.After(s.To) }

// evidence is what a round has left.
type evidence struct {
	Attempts []attempt
	Rows     []map[rowID]int   // each snapshot of a server: how often each row was there
	Final    map[rowID]place   // the surviving rows
	Ends     map[string]uint64 // where the surviving history has left each timeline
	Begins   map[string]uint64 // where it entered each
	Absent   []span            // pgpool was stopped
	Switches []change
}

// change is that pgpool tells of another node than before that takes what is written.
type change struct {
	At     time.Time
	Server string
}

// The lines that tell who the primary is: when one was searched for, when it moved by itself, at the end of an operation; and who takes
// what is written where none is known, told behind that.
var (
	toldPrimary = regexp.MustCompile(`^(?:find_primary_node: primary node is|node|failover: set new primary node:) (-?\d+)(?: is the primary now.*)?$`)
	toldMain    = regexp.MustCompile(`^failover: set new main node: (-?\d+)$`)
)

// nobody is the number of no node.
const nobody = "-1"

// switches are the times since began at which pgpool told of another node that takes what is written. events are all it has logged: who
// was it before is in them.
func switches(events []event, began time.Time) (all []change) {
	primary, writer := nobody, nobody
	for _, e := range events {
		now := nobody
		if m := toldPrimary.FindStringSubmatch(e.Message); m != nil {
			primary, now = m[1], m[1]
		} else if m := toldMain.FindStringSubmatch(e.Message); m != nil && primary == nobody {
			now = m[1]
		}
		if now == nobody || now == writer {
			continue
		}
		if writer = now; !e.Time.Before(began) {
			all = append(all, change{e.Time, "server" + writer})
		}
	}
	return all
}

// verdict is what the judges say: breaches of the rules, and counts of what is allowed.
type verdict struct {
	Breaches []string
	Counts   map[string]int
}

func (v *verdict) breach(format string, args ...any) {
	v.Breaches = append(v.Breaches, fmt.Sprintf(format, args...))
}

func judge(e evidence) verdict {
	v := verdict{Counts: map[string]int{}}
	v.faults(e)
	v.ghosts(e)
	v.survivors(e)
	v.writers(e)
	return v
}

// faults looks at how statements were refused.
func (v *verdict) faults(e evidence) {
	for _, a := range e.Attempts {
		v.Counts[a.Outcome.String()]++
		f := a.Fault
		if f == nil {
			continue
		}
		absent := slices.ContainsFunc(e.Absent, func(s span) bool { return s.touches(a) })
		v.Counts[f.Code+" "+nameless(f.Message)+" ("+nameless(f.Detail)+")"]++
		switch {
		case f.Hung, f.Wrong:
			v.breach("no answer, or a wrong one: %v", a)
		case f.Code == "" && !absent:
			v.breach("no reason given: %v", a)
		case f.Code == "XX000", f.Code == "08P01", f.Code == "26000", f.Code == "34000", f.Code == "42P01":
			v.breach("improper error: %v", a)
		case !a.Login && f.lost() && !f.unsent() && !absent && !f.says(noEffect) && !f.says(maybeEffect) && !f.says("state there that cannot be moved"):
			v.breach("not told what has become of it: %v", a)
		}
	}
}

// nameless leaves out numbers, so that like is counted with like.
func nameless(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// ghosts looks for rows that must not be, rows that are there twice, and units that are torn.
func (v *verdict) ghosts(e evidence) {
	units := map[rowID]*attempt{}
	for i := range e.Attempts {
		for _, seq := range e.Attempts[i].Seqs {
			units[rowID{e.Attempts[i].Client, seq}] = &e.Attempts[i]
		}
	}
	said := map[string]bool{}
	once := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !said[text] {
			said[text] = true
			v.breach("%s", text)
		}
	}
	for _, snapshot := range e.Rows {
		for id, n := range snapshot {
			a := units[id]
			switch {
			case n > 1:
				once("row %v is there %d times: %v", id, n, a)
			case a == nil:
				once("row %v was never sent", id)
			case a.Outcome == refused:
				once("was refused and is there: %v", a)
			case slices.ContainsFunc(a.Seqs, func(seq int) bool { return snapshot[rowID{a.Client, seq}] == 0 }):
				once("torn: %v", a)
			}
		}
	}
}

// slack is what may be logged between a row and its COMMIT.
const slack = 512 << 10

// survivors looks for acknowledged rows that are gone. Where the surviving history has left a branch at some point, what lies behind
// it was lost with its server. A branch that is not in that history at all was lost as a whole: one of another server, or one that a server
// had under the same number before an operator made it a copy of another one, which is known by its having written before that number began.
func (v *verdict) survivors(e evidence) {
	makers := map[string]string{} // of the timelines in the surviving history, as far as rows tell
	for _, p := range e.Final {
		makers[p.Timeline] = p.Server
	}
	for _, a := range e.Attempts {
		if a.Outcome != acknowledged {
			continue
		}
		for _, seq := range a.Seqs {
			if _, ok := e.Final[rowID{a.Client, seq}]; ok {
				continue
			}
			end, ended := e.Ends[a.At.Timeline]
			switch {
			case a.At.Server == "":
				v.Counts["acknowledged, lost, place unknown"]++
			case makers[a.At.Timeline] != a.At.Server, a.At.LSN < e.Begins[a.At.Timeline], ended && a.At.LSN+slack > end:
				v.Counts["acknowledged, lost with its server"]++
			default:
				v.breach("acknowledged and gone (timeline ends at %X): %v", end, a)
			}
		}
	}
}

// writers looks for two servers that take writes in turns. Between two writes of one server nobody else may acknowledge one, unless
// pgpool has meanwhile changed twice to whom it writes.
func (v *verdict) writers(e evidence) {
	bySent, byDone := map[string][]attempt{}, map[string][]attempt{}
	for _, a := range e.Attempts {
		if a.Outcome == acknowledged && a.At.Server != "" {
			bySent[a.At.branch()] = append(bySent[a.At.branch()], a)
			byDone[a.At.branch()] = append(byDone[a.At.branch()], a)
		}
	}
	for branch := range bySent {
		slices.SortFunc(bySent[branch], func(a, b attempt) int { return a.Sent.Compare(b.Sent) })
		slices.SortFunc(byDone[branch], func(a, b attempt) int { return a.Done.Compare(b.Done) })
	}
	for one := range bySent {
		for other := range bySent {
			if one != other && v.inTurns(e, byDone[one], bySent[other], bySent[one]) {
				break
			}
		}
	}
}

// inTurns tells whether one of between was sent after an attempt of one server was done, and done before another one was sent.
func (v *verdict) inTurns(e evidence, before, between, after []attempt) bool {
	for _, b := range between {
		i, _ := slices.BinarySearchFunc(before, b.Sent, func(a attempt, t time.Time) int { return a.Done.Compare(t) })
		j, _ := slices.BinarySearchFunc(after, b.Done, func(a attempt, t time.Time) int { return a.Sent.Compare(t) })
		if i > 0 && j < len(after) && v.changes(e, before[i-1], after[j]) < 2 {
			v.breach("two writers: %v; %v; %v", before[i-1], b, after[j])
			return true
		}
	}
	return false
}

// late is how long behind a change the line that tells of it may be written, where many want the processors: the new node takes writes
// already.
const late = time.Second

// changes counts those between two writes. One to the server of the second write may be told a moment later.
func (*verdict) changes(e evidence, first, second attempt) int {
	n := 0
	for _, c := range e.Switches {
		switch {
		case c.At.Before(first.Sent):
		case !c.At.After(second.Done):
			n++
		case c.Server == second.At.Server && c.At.Sub(second.Done) < late:
			return n + 1
		default:
			return n
		}
	}
	return n
}

// summary are the counts, most frequent first.
func (v *verdict) summary() string {
	var keys []string
	for k := range v.Counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(v.Counts[b], v.Counts[a]), cmp.Compare(a, b)) })
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%7d  %s\n", v.Counts[k], k)
	}
	return b.String()
}

// parseLSN reads 16/B374D848.
func parseLSN(text string) uint64 {
	hi, lo, _ := strings.Cut(text, "/")
	h, _ := strconv.ParseUint(hi, 16, 32)
	l, _ := strconv.ParseUint(lo, 16, 32)
	return h<<32 | l
}
