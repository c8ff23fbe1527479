package leak

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// way is how a statement travels.
type way int

const (
	simple  way = iota
	parsed      // prepared by the protocol under step.name, and run
	again       // run by that name once more
	unnamed     // by the extended protocol, without a name
)

// step is one statement of a session and what becomes of it.
type step struct {
	way  way
	name string // of a prepared statement
	sql  string
	want string // the first column of the first row; "" for any
	code string // SQLSTATE
	save string // keep the first column under these names, separated by spaces
	same string // the first column is what was kept under this name
	// seeded: the first column is a random() that follows a setseed of ours.
	seeded bool
}

func (s step) String() string {
	text := s.sql
	switch s.way {
	case parsed:
		text = "prepared " + s.name + ": " + s.sql
	case again:
		text = "again " + s.name
	case unnamed:
		text = "extended: " + s.sql
	case simple:
	}
	for _, part := range []struct{ label, value string }{{"want", s.want}, {"error", s.code}, {"save", s.save}, {"same", s.same}} {
		if part.value != "" {
			text += "  -- " + part.label + " " + part.value
		}
	}
	return text
}

// ending is how a session ends.
type ending string

const (
	terminate     ending = "Terminate"
	terminateOpen ending = "Terminate in a transaction"
	vanishIdle    ending = "closed between transactions"
	vanishOpen    ending = "closed in a transaction"
	vanishFailed  ending = "closed in a failed transaction"
	vanishBusy    ending = "closed while a statement of a transaction runs"
	vanishCopy    ending = "closed in the middle of COPY"
	vanishBatch   ending = "closed before the Sync of a batch in a transaction"
	vanishHeader  ending = "closed in the middle of a message's header"
	vanishBody    ending = "closed in the middle of a message"
)

// endings with their weights; six of ten in the middle of a transaction.
var endings = []struct {
	end    ending
	weight int
}{
	{terminate, 15},
	{terminateOpen, 8},
	{vanishIdle, 7},
	{vanishOpen, 24},
	{vanishFailed, 8},
	{vanishBusy, 8},
	{vanishCopy, 8},
	{vanishBatch, 8},
	{vanishHeader, 6},
	{vanishBody, 8},
}

// session is what one session does, drawn before it begins.
type session struct {
	number   int
	role     string
	words    []string          // of its connection string
	given    map[string]string // its startup parameters as pg_settings shows them
	channels map[string]bool   // it may hear from
	steps    []step
	end      ending
	reset    bool // where it vanishes: by RST instead of FIN
}

func (s session) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "session %d: %s %s\n", s.number, s.role, strings.Join(s.words, " "))
	for i, st := range s.steps {
		fmt.Fprintf(&b, "  %2d %s\n", i+1, st)
	}
	fmt.Fprintf(&b, "  ends: %s, RST %t", s.end, s.reset)
	return b.String()
}

// draft is a session being drawn: pure, its dice come from the two numbers.
type draft struct {
	session
	dice   *rand.Rand
	count  int                    // of names given away
	checks map[string]func() step // what must be there in later transactions, by what it is about
	order  []string               // their keys
}

// draw makes the session of that number.
func draw(seed uint64, number int) session {
	d := draft{
		session: session{number: number, role: plainRole, given: map[string]string{}, channels: map[string]bool{}},
		dice:    rand.New(rand.NewPCG(seed, uint64(number))),
		checks:  map[string]func() step{},
	}
	d.login()
	d.untouched()
	all := acts()
	for range 2 + d.dice.IntN(7) {
		act := all[d.dice.IntN(len(all))]
		act(&d)
		if d.one(3) {
			d.check()
		}
	}
	for range min(3, len(d.order)) {
		d.check()
	}
	d.assume()
	d.end = d.ending()
	d.reset = d.one(3)
	return d.session
}

// one is true once in n times.
func (d *draft) one(n int) bool { return d.dice.IntN(n) == 0 }

func (d *draft) pick(from ...string) string { return from[d.dice.IntN(len(from))] }

// next is a name that sessions share and this one has not used.
func (d *draft) next(prefix string) string {
	d.count++
	return fmt.Sprintf("leak_%s%d", prefix, d.count)
}

func (d *draft) do(steps ...step) { d.steps = append(d.steps, steps...) }

func (d *draft) say(format string, args ...any) { d.do(step{sql: fmt.Sprintf(format, args...)}) }

// keep remembers a check under a key; forget takes it away.
func (d *draft) keep(key string, check step) {
	if _, ok := d.checks[key]; !ok {
		d.order = append(d.order, key)
	}
	d.checks[key] = func() step { return check }
}

func (d *draft) forget(key string) {
	delete(d.checks, key)
	d.order = slices.DeleteFunc(d.order, func(k string) bool { return k == key })
}

// check asks for something of what the session has.
func (d *draft) check() {
	if len(d.order) > 0 {
		d.do(d.checks[d.order[d.dice.IntN(len(d.order))]]())
	}
}

// own is a number no other session uses.
func (d *draft) own() int { d.count++; return d.number*100 + d.count }

func (d *draft) ending() ending {
	total := 0
	for _, e := range endings {
		total += e.weight
	}
	at := d.dice.IntN(total)
	for _, e := range endings {
		if at -= e.weight; at < 0 {
			return e.end
		}
	}
	panic("leak: weights")
}

func (d *draft) login() {
	switch d.dice.IntN(10) {
	case 0, 1:
		d.role = tunedRole
	case 2:
		d.role = superRole
	}
	switch d.dice.IntN(8) {
	case 0:
		name := fmt.Sprintf("leak %d", d.number%7)
		d.words, d.given["application_name"] = append(d.words, "application_name='"+name+"'"), name
	case 1:
		d.words, d.given["work_mem"] = append(d.words, "options='-c work_mem=777kB'"), "777"
	case 2:
		d.words, d.given["TimeZone"] = append(d.words, "TimeZone=Asia/Tokyo"), "Asia/Tokyo"
	}
}

// untouched asks for what no session has before it asked for it.
func (d *draft) untouched() {
	switch d.dice.IntN(6) {
	case 0:
		d.do(step{sql: "SELECT currval('public.leak_untouched')", code: "55000"})
	case 1:
		d.do(step{sql: "SELECT lastval()", code: "55000"})
	case 2:
		d.do(step{sql: "SELECT currval('public.leak_seq')", code: "55000"})
	}
}

// assume comes last: as another role much of the above is forbidden.
func (d *draft) assume() {
	switch d.dice.IntN(6) {
	case 0:
		d.do(step{sql: "SET ROLE " + assumed}, step{sql: "SELECT current_user", want: assumed})
	case 1:
		d.do(step{sql: "SELECT public.leak_set('role', '" + assumed + "')"}, step{sql: onPrimary + "SELECT current_user", want: assumed})
	case 2:
		if d.role == superRole {
			d.do(step{sql: "SET SESSION AUTHORIZATION " + plainRole}, step{sql: "SELECT session_user", want: plainRole})
		}
	}
}
