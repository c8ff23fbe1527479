package fakepg

import (
	"fmt"
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
	body := reader{rest: []byte(m.Body)}
	switch m.Type {
	case pgwire.Query:
		return c.query(&body)
	case pgwire.Parse:
		c.parse(&body)
	case pgwire.Bind:
		c.bind(&body)
	case pgwire.Describe:
		c.describe(&body)
	case pgwire.Execute:
		return c.execute(&body)
	case pgwire.Close:
		c.closeObject(&body)
	case pgwire.Flush:
		c.flush()
	case pgwire.Sync:
		c.skipping = false
		return c.ready("")
	case pgwire.Terminate:
		return false
	case pgwire.CopyData, pgwire.CopyDone, pgwire.CopyFail:
	default:
		c.out = pgwire.AppendError(c.out, pgwire.Fields{Severity: "FATAL", Code: "08P01", Message: fmt.Sprintf("invalid frontend message type %d", m.Type)})
		c.flush()
		return false
	}
	return true
}

func (c *Conn) query(r *reader) bool {
	sql := r.text()
	r.end()
	delete(c.stmts, "")
	c.failed = false
	switch {
	case r.fault != "":
		c.fail(Failure("08P01", r.fault))
		return c.ready("")
	case sql == "" || sql == ";":
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
	if a.Before != "" {
		c.out = pgwire.AppendTag(c.out, a.Before)
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
			c.fail(Failure("08P01", fmt.Sprintf("unexpected message type 0x%02X during COPY from stdin", m.Type)))
			c.out = pgwire.AppendError(c.out, pgwire.Fields{
				Severity: "FATAL", Code: "08P01", Message: "terminating connection because protocol synchronization was lost",
			})
			c.flush()
			return false
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
