package leak

import (
	"fmt"
	"slices"
	"strings"
)

// acts are what a session may do, each as likely as the others.
func acts() []func(*draft) {
	return []func(*draft){
		(*draft).setting, (*draft).setting, (*draft).local, (*draft).hiddenSetting,
		(*draft).place, (*draft).prepare, (*draft).prepareByProtocol, (*draft).prepareByProtocol,
		(*draft).listen, (*draft).notify, (*draft).lock, (*draft).temporary, (*draft).holdCursor,
		(*draft).sequence, (*draft).serial, (*draft).seed, (*draft).hidden, (*draft).write, (*draft).mistake, (*draft).discard,
	}
}

// parameters a session sets, as SHOW shows them afterwards.
var parameters = []struct{ name, value string }{
	{"work_mem", "1234kB"},
	{"work_mem", "2345kB"},
	{"TimeZone", "Europe/Lisbon"},
	{"DateStyle", "German, DMY"},
	{"statement_timeout", "321s"},
	{"lock_timeout", "123s"},
	{"bytea_output", "escape"},
	{"enable_seqscan", "off"},
	{"application_name", "leak's"},
	{"client_min_messages", "error"},
	{"default_transaction_isolation", "repeatable read"},
	{"idle_in_transaction_session_timeout", "456s"},
	{"client_encoding", "LATIN1"},
	{"extra_float_digits", "0"},
	{"plan_cache_mode", "force_custom_plan"},
}

func (d *draft) parameter() (name, value string) {
	if d.one(6) {
		return "leak.mark", fmt.Sprint(d.number)
	}
	p := parameters[d.dice.IntN(len(parameters))]
	return p.name, p.value
}

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// wrapped runs a statement by itself or in a transaction, and tells whether it lasts.
func (d *draft) wrapped(sql string) bool {
	switch d.dice.IntN(8) {
	case 0:
		d.say("BEGIN; %s; COMMIT", sql)
	case 1:
		d.do(step{sql: "BEGIN"}, step{sql: sql}, step{sql: "COMMIT"})
	case 2:
		d.do(step{sql: "BEGIN"}, step{sql: sql}, step{sql: "ROLLBACK"})
		return false
	case 3:
		d.do(step{sql: "BEGIN"}, step{sql: "SAVEPOINT a"}, step{sql: sql}, step{sql: "ROLLBACK TO a"}, step{sql: "COMMIT"})
		return false
	case 4:
		d.do(step{sql: "BEGIN"}, step{sql: sql}, step{sql: "SELECT 1/0", code: "22012"}, step{sql: "COMMIT"})
		return false
	case 5:
		d.do(step{sql: sql + "; SELECT 1/0", code: "22012"})
		return false
	case 6:
		d.do(step{way: unnamed, sql: sql})
	default:
		d.do(step{sql: sql})
	}
	return true
}

// somewhere keeps half of the statements off the standbys.
func (d *draft) somewhere(sql string) string {
	if d.one(2) {
		return onPrimary + sql
	}
	return sql
}

func (d *draft) setting() {
	name, value := d.parameter()
	form := d.pick("SET %s = %s", "SET SESSION %s TO %s", "SELECT set_config('%s', %s, false)")
	quoted := literal(value)
	if name == "DateStyle" && strings.HasPrefix(form, "SET") {
		quoted = value // a list
	}
	if !d.wrapped(fmt.Sprintf(form, name, quoted)) {
		return
	}
	d.keep(name, step{sql: d.somewhere("SHOW " + name), want: value})
	if d.one(4) && d.wrapped("RESET "+name) {
		d.forget(name)
	}
}

func (d *draft) local() {
	name, value := d.parameter()
	if name == "DateStyle" {
		return
	}
	d.do(
		step{sql: "BEGIN"}, step{sql: fmt.Sprintf("SET LOCAL %s = %s", name, literal(value))},
		step{sql: "SHOW " + name, want: value}, step{sql: d.pick("COMMIT", "ROLLBACK")},
	)
}

// hiddenSetting changes a parameter where no statement of the client names it.
func (d *draft) hiddenSetting() {
	name, value := d.parameter()
	if name == "DateStyle" {
		return
	}
	set := fmt.Sprintf("SET %s = %s", name, literal(value))
	lasts := d.wrapped(d.pick(
		fmt.Sprintf("SELECT public.leak_set('%s', %s)", name, literal(value)),
		fmt.Sprintf("SELECT public.leak_do(%s)", literal(set)),
		fmt.Sprintf("DO $do$BEGIN %s; END$do$", set),
		fmt.Sprintf("DO $do$BEGIN PERFORM set_config('%s', %s, false); END$do$", name, literal(value)),
		fmt.Sprintf("CALL public.leak_call(%s)", literal(set)),
	))
	switch {
	case name == "leak.mark": // no view of the server's lists an application's own parameters: transaction mode cannot follow it
		d.forget(name)
	case lasts:
		d.keep(name, step{sql: onPrimary + fmt.Sprintf("SELECT current_setting('%s')", name), want: value})
	}
}

func (d *draft) place() {
	if d.wrapped("SET search_path = leak_there, public") {
		d.keep("search_path", step{sql: d.somewhere("SELECT place FROM leak_place"), want: "there"})
	}
}

// prepare: the names are those of other sessions, the statements are not.
func (d *draft) prepare() {
	name, n := d.next("p"), d.own()
	d.do(step{sql: fmt.Sprintf("PREPARE %s AS SELECT %d", name, n)})
	d.keep(name, step{sql: d.pick("EXECUTE "+name, "EXECUTE "+name+"; SELECT 1"), want: fmt.Sprint(n)})
	if d.one(4) {
		d.say("DEALLOCATE %s", name)
		d.forget(name)
	}
}

func (d *draft) prepareByProtocol() {
	name, n := d.next("x"), d.own()
	sql := fmt.Sprintf("SELECT %d", n)
	if d.one(2) { // one that other sessions prepare too
		n = 4711
		sql = d.somewhere("SELECT current_setting('port')::int * 0 + 4711")
	}
	first := step{way: parsed, name: name, sql: sql, want: fmt.Sprint(n)}
	d.do(first)
	d.keep(name, step{way: again, name: name, want: first.want})
}

func (d *draft) listen() {
	channel := fmt.Sprintf("leak_channel%d", d.dice.IntN(5))
	d.channels[channel] = true
	d.wrapped("LISTEN " + channel)
	if d.one(4) {
		d.wrapped(d.pick("UNLISTEN "+channel, "UNLISTEN *"))
	}
}

func (d *draft) notify() {
	d.wrapped(fmt.Sprintf("NOTIFY leak_channel%d, 'session %d'", d.dice.IntN(5), d.number))
}

func (d *draft) lock() {
	n := d.own()
	switch d.dice.IntN(4) {
	case 0:
		d.say("SELECT pg_advisory_lock_shared(7)")
	case 1:
		d.say("SELECT pg_advisory_xact_lock(%d)", n)
	default:
		d.do(step{sql: fmt.Sprintf(d.pick("SELECT pg_advisory_lock(%d)", "SELECT pg_try_advisory_lock(%d)", "SELECT public.leak_lock(%d)"), n)})
		key := fmt.Sprint("lock ", n)
		d.keep(key, step{
			sql:  onPrimary + fmt.Sprintf("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %d", n),
			want: "1",
		})
		if d.one(4) {
			d.do(step{sql: onPrimary + fmt.Sprintf("SELECT pg_advisory_unlock(%d)", n), want: "t"})
			d.forget(key)
		}
	}
}

func (d *draft) temporary() {
	name, n := d.next("t"), d.own()
	if !d.wrapped(fmt.Sprintf(d.pick(
		"CREATE TEMP TABLE %s AS SELECT %d AS n", "CREATE TEMPORARY VIEW %s AS SELECT %d AS n", "SELECT %[2]d AS n INTO TEMP %[1]s",
	), name, n)) {
		return
	}
	if d.one(5) {
		d.do(step{sql: "DROP TABLE IF EXISTS pg_temp.nothing"}, step{sql: "DISCARD TEMP"})
		d.forgetTemporary()
		return
	}
	d.keep(name, step{sql: "SELECT n FROM pg_temp." + name, want: fmt.Sprint(n)})
}

func (d *draft) forgetTemporary() {
	for _, key := range slices.Clone(d.order) {
		if strings.HasPrefix(key, "leak_t") {
			d.forget(key)
		}
	}
}

func (d *draft) holdCursor() {
	name, n := d.next("c"), d.own()
	d.do(
		step{sql: "BEGIN"},
		step{sql: fmt.Sprintf("DECLARE %s CURSOR WITH HOLD FOR SELECT %d FROM generate_series(1, 100)", name, n)},
	)
	if d.one(4) {
		d.do(step{sql: "ROLLBACK"})
		return
	}
	d.do(step{sql: "COMMIT"})
	d.keep(name, step{sql: "FETCH 1 FROM " + name, want: fmt.Sprint(n)})
	if d.one(3) {
		d.say("CLOSE %s", name)
		d.forget(name)
	}
}

// sequence: nextval by itself, and inside a function.
func (d *draft) sequence() {
	d.do(step{sql: d.pick("SELECT nextval('public.leak_seq')", "SELECT public.leak_next()"), save: "leak_seq last"})
	d.keep("currval", step{sql: onPrimary + "SELECT currval('public.leak_seq')", same: "leak_seq"})
	d.keep("lastval", step{sql: onPrimary + "SELECT lastval()", same: "last"})
}

// serial: nextval by the default of a column.
func (d *draft) serial() {
	d.do(step{sql: fmt.Sprintf("INSERT INTO public.leak_rows (session) VALUES (%d) RETURNING id", d.number), save: "serial last"})
	d.keep("serial", step{sql: onPrimary + "SELECT currval('public.leak_rows_id_seq')", same: "serial"})
	d.keep("lastval", step{sql: onPrimary + "SELECT lastval()", same: "last"})
}

// seed: inside a function it is not followed, see docs/pooling.md.
func (d *draft) seed() {
	value := d.pick(seeds...)
	if d.one(3) {
		d.forget("seed")
		d.say(onPrimary+"SELECT public.leak_seed(%s)", value)
		return
	}
	d.do(step{sql: onPrimary + fmt.Sprintf(d.pick("SELECT setseed(%s)", "SET seed = %s"), value)})
	d.keep("seed", step{sql: onPrimary + "SELECT random()", seeded: true})
}

// hidden does inside a function what is not seen outside.
func (d *draft) hidden() {
	name, n := d.next("h"), d.own()
	what := d.pick(
		fmt.Sprintf("CREATE TEMP TABLE %s AS SELECT %d AS n", name, n),
		fmt.Sprintf("PREPARE %s AS SELECT %d", name, n),
		"LISTEN leak_channel_hidden",
		fmt.Sprintf("SELECT pg_advisory_lock(%d)", n),
	)
	d.channels["leak_channel_hidden"] = true
	lasts := d.wrapped(d.pick(
		fmt.Sprintf("SELECT public.leak_do(%s)", literal(what)),
		fmt.Sprintf("DO $do$BEGIN EXECUTE %s; END$do$", literal(what)),
		fmt.Sprintf("CALL public.leak_call(%s)", literal(what)),
	))
	switch {
	case lasts && strings.HasPrefix(what, "CREATE"):
		d.keep("leak_t "+name, step{sql: "SELECT n FROM pg_temp." + name, want: fmt.Sprint(n)})
	case lasts && strings.HasPrefix(what, "PREPARE"):
		d.keep(name, step{sql: onPrimary + "EXECUTE " + name, want: fmt.Sprint(n)})
	}
}

func (d *draft) write() {
	d.wrapped(fmt.Sprintf("INSERT INTO public.leak_rows (id, session) VALUES (0, %d)", d.number))
}

func (d *draft) mistake() {
	d.do(step{sql: d.pick("SELECT * FROM leak_nowhere", "SELECT leak_nothing()", "EXECUTE leak_unknown"), code: "42P01 42883 26000"})
}

func (d *draft) discard() {
	if !d.one(4) {
		return
	}
	d.say("DISCARD ALL")
	d.checks, d.order = map[string]func() step{}, nil
}
