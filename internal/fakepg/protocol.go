package fakepg

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"gopgpool/pgwire"
)

// message deals with one message; it reports whether the connection goes on.
func (c *Conn) message(m Message) bool {
	if c.skipping && m.Type != pgwire.Sync && m.Type != pgwire.Terminate {
		return true
	}
	body := []byte(m.Body)
	switch m.Type {
	case pgwire.Query:
		return c.query(body)
	case pgwire.Parse:
		c.parse(body)
	case pgwire.Bind:
		c.bind(body)
	case pgwire.Describe:
		c.describe(body)
	case pgwire.Execute:
		return c.execute(body)
	case pgwire.Close:
		c.closeObject(body)
	case pgwire.Flush:
		c.flush()
	case pgwire.Sync:
		c.skipping = false
		return c.ready("")
	case pgwire.Terminate:
		return false
	case pgwire.CopyData, pgwire.CopyDone, pgwire.CopyFail:
	default:
		c.out = pgwire.AppendError(c.out, pgwire.Fields{Severity: "FATAL", Code: "08P01", Message: "invalid frontend message type"})
		c.flush()
		return false
	}
	return true
}

func (c *Conn) query(body []byte) bool {
	text, rest, ok := pgwire.CString(body)
	if !ok || len(rest) > 0 {
		c.fail(Failure("08P01", "invalid message format"))
		return c.ready("")
	}
	sql := string(text)
	delete(c.stmts, "")
	c.failed = false
	if sql == "" {
		c.out = pgwire.AppendSimple(c.out, pgwire.EmptyQueryResponse)
		return c.ready(sql)
	}
	if !c.at(Asked, sql) {
		return false
	}
	if !c.failed && !c.perform(sql, true, &running{}, 0) {
		return false
	}
	return c.at(Completed, sql) && c.ready(sql)
}

// perform runs a statement. Its answer is added to what goes out.
func (c *Conn) perform(sql string, describe bool, p *running, limit int) bool {
	a := c.answer(sql)
	switch {
	case c.status == 'E' && !a.Ends:
		c.fail(Failure("25P02", "current transaction is aborted, commands ignored until end of transaction block"))
		return true
	case a.Error != nil:
		c.fail(a.Error)
		return true
	}
	if a.Notice != nil {
		c.out = pgwire.AppendNotice(c.out, *a.Notice)
	}
	switch {
	case a.CopyIn:
		if !c.copyIn() {
			return false
		}
		if c.failed {
			return true
		}
	case a.CopyOut != nil:
		c.copyOut(a.CopyOut)
	case len(a.Columns) > 0:
		if describe {
			c.out = appendDescription(c.out, a.Columns)
		}
		from := p.at
		if suspended, alive := c.rows(sql, a.Rows, p, limit); suspended || !alive {
			return alive
		}
		if from > 0 && strings.HasPrefix(a.Tag, "SELECT ") {
			a.Tag = "SELECT " + strconv.Itoa(p.at-from) // the rows of this Execute alone
		}
	}
	c.out = pgwire.AppendTag(c.out, a.Tag)
	c.effect(&a)
	return true
}

// rows sends the rows that are left, or limit of them.
func (c *Conn) rows(sql string, rows [][]string, p *running, limit int) (suspended, alive bool) {
	if !c.at(Described, sql) {
		return false, false
	}
	n := 0
	for ; p.at < len(rows) && (limit == 0 || n < limit); n++ {
		row := pgwire.AppendDataRow(nil, rows[p.at])
		if p.at == 0 {
			half := len(row) / 2
			c.out = append(c.out, row[:half]...)
			if !c.at(HalfRow, sql) {
				return false, false
			}
			row = row[half:]
		}
		c.out = append(c.out, row...)
		p.at++
		if len(c.out) > floodChunk {
			c.flush()
		}
	}
	if limit > 0 && n == limit {
		c.out = pgwire.AppendSimple(c.out, pgwire.PortalSuspended)
		return true, true
	}
	return false, c.at(Rows, sql)
}

// effect is what a statement that succeeded leaves behind.
func (c *Conn) effect(a *Answer) {
	switch {
	case a.Begins:
		c.status = 'T'
	case a.Ends:
		c.status = 'I'
	}
	if a.Set == nil {
		return
	}
	i := slices.IndexFunc(c.reported, func(p pgwire.Param) bool { return p.Name == a.Set.Name })
	if i >= 0 && c.reported[i].Value == a.Set.Value {
		return
	}
	if i >= 0 {
		c.reported[i].Value = a.Set.Value
	}
	c.out = pgwire.AppendParameterStatus(c.out, a.Set.Name, a.Set.Value)
}

// fail is an error of the statement that runs.
func (c *Conn) fail(f *pgwire.Fields) {
	c.failed = true
	c.out = pgwire.AppendError(c.out, *f)
	if c.status == 'T' {
		c.status = 'E'
	}
}

// ready is the end of an answer.
func (c *Conn) ready(sql string) bool {
	if c.status == 'I' {
		c.portals = nil // they end with the transaction
	}
	c.out = pgwire.AppendReady(c.out, c.status)
	c.flush()
	return c.at(Answered, sql)
}

// failBatch is an error in the extended protocol.
func (c *Conn) failBatch(code, message string) {
	c.fail(Failure(code, message))
	c.skipping = true
	c.flush()
}

func (c *Conn) parse(body []byte) {
	name, rest, ok := pgwire.CString(body)
	text, _, ok2 := pgwire.CString(rest)
	if !ok || !ok2 {
		c.failBatch("08P01", "invalid string in message")
		return
	}
	if _, used := c.stmts[string(name)]; used && len(name) > 0 {
		c.failBatch("42P05", `prepared statement "`+string(name)+`" already exists`)
		return
	}
	if a := c.answer(string(text)); a.Error != nil && (a.Error.Code == "42601" || a.Error.Code == "42703") { // the parser's errors
		c.failBatch(a.Error.Code, a.Error.Message)
		return
	} else if c.status == 'E' && !a.Ends {
		c.failBatch("25P02", "current transaction is aborted, commands ignored until end of transaction block")
		return
	}
	if c.stmts == nil {
		c.stmts = make(map[string]string)
	}
	c.stmts[string(name)] = string(text)
	c.out = pgwire.AppendSimple(c.out, pgwire.ParseComplete)
}

func (c *Conn) bind(body []byte) {
	portal, rest, ok := pgwire.CString(body)
	name, rest, ok2 := pgwire.CString(rest)
	if !ok || !ok2 || len(rest) < 6 {
		c.failBatch("08P01", "invalid message format")
		return
	}
	sql, known := c.stmts[string(name)]
	if !known {
		c.failBatch("26000", unknown("prepared statement", "unnamed prepared statement", string(name)))
		return
	}
	if c.portals == nil {
		c.portals = make(map[string]*running)
	}
	c.portals[string(portal)] = &running{sql: sql}
	c.out = pgwire.AppendSimple(c.out, pgwire.BindComplete)
}

func unknown(what, unnamed, name string) string {
	if name == "" {
		return unnamed + " does not exist"
	}
	return what + ` "` + name + `" does not exist`
}

func (c *Conn) describe(body []byte) {
	if len(body) < 2 {
		c.failBatch("08P01", "invalid message format")
		return
	}
	name := string(body[1 : len(body)-1])
	switch body[0] {
	case 'S':
		sql, ok := c.stmts[name]
		if !ok {
			c.failBatch("26000", unknown("prepared statement", "unnamed prepared statement", name))
			return
		}
		a := c.answer(sql)
		c.out = appendDescription(appendParameters(c.out, a.Params), a.Columns)
	case 'P':
		p, ok := c.portals[name]
		if !ok {
			c.failBatch("34000", unknown("portal", `portal ""`, name))
			return
		}
		c.out = appendDescription(c.out, c.answer(p.sql).Columns)
	default:
		c.failBatch("08P01", "invalid DESCRIBE message subtype "+strconv.Itoa(int(body[0])))
	}
}

func (c *Conn) execute(body []byte) bool {
	name, rest, ok := pgwire.CString(body)
	if !ok || len(rest) != 4 {
		c.failBatch("08P01", "invalid message format")
		return true
	}
	p, known := c.portals[string(name)]
	if !known {
		c.failBatch("34000", unknown("portal", `portal ""`, string(name)))
		return true
	}
	if p.sql == "" {
		c.out = pgwire.AppendSimple(c.out, pgwire.EmptyQueryResponse)
		return true
	}
	c.failed = false
	if !c.at(Asked, p.sql) {
		return false
	}
	if !c.failed && !c.perform(p.sql, false, p, int(binary.BigEndian.Uint32(rest))) {
		return false
	}
	if c.failed {
		c.skipping = true
		c.flush()
	}
	return c.at(Completed, p.sql)
}

func (c *Conn) closeObject(body []byte) {
	if len(body) < 2 || body[0] != 'S' && body[0] != 'P' {
		c.failBatch("08P01", "invalid CLOSE message subtype")
		return
	}
	name := string(body[1 : len(body)-1])
	if body[0] == 'S' {
		delete(c.stmts, name)
	} else {
		delete(c.portals, name)
	}
	c.out = pgwire.AppendSimple(c.out, pgwire.CloseComplete)
}

// copyIn reads CopyData up to its end.
func (c *Conn) copyIn() bool {
	c.Send(pgwire.AppendBody(nil, pgwire.CopyInResponse, []byte{0, 0, 1, 0, 0}))
	for {
		m, err := c.read()
		if err != nil {
			return false
		}
		switch m.Type {
		case pgwire.CopyData, pgwire.Flush, pgwire.Sync:
		case pgwire.CopyDone:
			return true
		case pgwire.CopyFail:
			text, _, _ := pgwire.CString([]byte(m.Body))
			c.fail(Failure("57014", "COPY from stdin failed: "+string(text)))
			return true
		default:
			c.fail(Failure("08P01", "unexpected message type during COPY from stdin"))
			return true
		}
	}
}

func (c *Conn) copyOut(lines []string) {
	c.out = pgwire.AppendBody(c.out, pgwire.CopyOutResponse, []byte{0, 0, 1, 0, 0})
	for _, l := range lines {
		c.out = pgwire.AppendBody(c.out, pgwire.CopyData, []byte(l))
	}
	c.out = pgwire.AppendSimple(c.out, pgwire.CopyDone)
}
