package fakepg

import (
	"fmt"

	"gopgpool/pgwire"
)

// failBatch is an error in the extended protocol.
func (c *Conn) failBatch(code, message string) {
	c.fail(Failure(code, message))
	c.skipping = true
	c.flush()
}

// malformed answers a message that is not one.
func (c *Conn) malformed(r *reader) bool {
	if r.fault != "" {
		c.failBatch("08P01", r.fault)
	}
	return r.fault != ""
}

func (c *Conn) parse(r *reader) {
	name, sql := r.text(), r.text()
	for range r.int16() {
		r.int32()
	}
	r.end()
	if c.malformed(r) {
		return
	}
	if name == "" {
		delete(c.stmts, "")
	}
	a := c.answer(sql)
	_, used := c.stmts[name]
	switch {
	case a.Error != nil && (a.Error.Code == "42601" || a.Error.Code == "42703"): // the parser's own
		c.failBatch(a.Error.Code, a.Error.Message)
	case c.status == 'E' && !a.Ends:
		c.failBatch("25P02", "current transaction is aborted, commands ignored until end of transaction block")
	case used:
		c.failBatch("42P05", fmt.Sprintf("prepared statement \"%s\" already exists", name))
	default:
		if c.stmts == nil {
			c.stmts = make(map[string]string)
		}
		c.stmts[name] = sql
		c.out = pgwire.AppendSimple(c.out, pgwire.ParseComplete)
	}
}

func (c *Conn) bind(r *reader) {
	portal, name := r.text(), r.text()
	sql, known := c.stmts[name]
	if r.fault == "" && !known {
		c.failBatch("26000", unknown("prepared statement", "unnamed prepared statement", name))
		return
	}
	for range r.int16() {
		r.int16()
	}
	n := r.int16()
	want := 0
	if known {
		want = len(c.answer(sql).Params)
	}
	if r.fault == "" && n != want {
		r.bad(fmt.Sprintf("bind message supplies %d parameters, but prepared statement \"%s\" requires %d", n, name, want))
	}
	for range n {
		if size := r.int32(); size >= 0 {
			r.take(size)
		}
	}
	for range r.int16() {
		r.int16()
	}
	r.end()
	if c.malformed(r) {
		return
	}
	if c.portals == nil {
		c.portals = make(map[string]*running)
	}
	c.portals[portal] = &running{sql: sql}
	c.out = pgwire.AppendSimple(c.out, pgwire.BindComplete)
}

func unknown(what, unnamed, name string) string {
	if name == "" {
		return unnamed + " does not exist"
	}
	return what + ` "` + name + `" does not exist`
}

func (c *Conn) describe(r *reader) {
	what, name := r.letter(), r.text()
	r.end()
	switch {
	case c.malformed(r):
	case what == 'S':
		sql, ok := c.stmts[name]
		if !ok {
			c.failBatch("26000", unknown("prepared statement", "unnamed prepared statement", name))
			return
		}
		a := c.answer(sql)
		c.out = appendDescription(appendParameters(c.out, a.Params), a.Columns)
	case what == 'P':
		p, ok := c.portals[name]
		if !ok {
			c.failBatch("34000", unknown("portal", `portal ""`, name))
			return
		}
		c.out = appendDescription(c.out, c.answer(p.sql).Columns)
	default:
		c.failBatch("08P01", fmt.Sprintf("invalid DESCRIBE message subtype %d", what))
	}
}

func (c *Conn) execute(r *reader) bool {
	name, limit := r.text(), r.int32()
	r.end()
	if c.malformed(r) {
		return true
	}
	p, known := c.portals[name]
	switch {
	case !known:
		c.failBatch("34000", unknown("portal", `portal ""`, name))
		return true
	case p.sql == "" || p.sql == ";":
		c.out = pgwire.AppendSimple(c.out, pgwire.EmptyQueryResponse)
		return true
	}
	c.failed = false
	if !c.at(Asked, p.sql) {
		return false
	}
	if !c.failed && !c.perform(p.sql, false, p, limit) {
		return false
	}
	if c.failed {
		c.skipping = true
		c.flush()
	}
	return c.at(Completed, p.sql)
}

func (c *Conn) closeObject(r *reader) {
	what, name := r.letter(), r.text()
	r.end()
	switch {
	case c.malformed(r):
		return
	case what == 'S':
		delete(c.stmts, name)
	case what == 'P':
		delete(c.portals, name)
	default:
		c.failBatch("08P01", fmt.Sprintf("invalid CLOSE message subtype %d", what))
		return
	}
	c.out = pgwire.AppendSimple(c.out, pgwire.CloseComplete)
}
