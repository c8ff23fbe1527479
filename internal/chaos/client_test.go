package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// patience is how long a client waits for an answer before it calls the statement hung. Where all servers are away, or a client of
// pcp has everybody out first, this takes its time.
const patience = 60 * time.Second

// columns of a row that tell where it was written.
const (
	herePlace = "current_setting('cluster_name'), substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), pg_current_wal_insert_lsn()"
	returning = " RETURNING " + herePlace
)

// client works on one session after another. Its notes are its own until it has stopped.
type client struct {
	id       int
	kind     kind
	dsn      string
	rng      *rand.Rand
	stop     <-chan struct{}
	seq      int
	attempts []attempt

	conn *pgconn.PgConn
	wire *tap
}

// kind is what a client does: set is done once in a session, work again and again. An error of work has been noted.
type kind struct {
	name string
	set  func(c *client, ctx context.Context) error
	work func(c *client, ctx context.Context)
}

func (c *client) run() {
	for !c.stopped() {
		if !c.login() {
			c.pause(50 * time.Millisecond)
			continue
		}
		for limit := 1 + c.rng.IntN(200); limit > 0 && !c.stopped() && !c.conn.IsClosed(); limit-- {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			c.kind.work(c, ctx)
			cancel()
			c.pause(time.Duration(c.rng.IntN(20)) * time.Millisecond)
		}
		c.leave()
	}
}

func (c *client) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

func (c *client) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.stop:
	}
}

func (c *client) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // what is said now concerns no statement
	<-c.conn.CleanupDone()
}

func (c *client) login() bool {
	config, err := pgconn.ParseConfig(c.dsn + " connect_timeout=60 application_name=chaos-" + c.kind.name)
	if err != nil {
		panic("chaos: the test's own connection string: " + err.Error())
	}
	config.DialFunc = dialTap
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a := c.begin()
	a.Login, a.Outcome = true, refused
	c.conn, err = pgconn.ConnectConfig(ctx, config)
	if err != nil {
		a.Fault = faultOf(err, true, nil)
		c.note(a)
		return false
	}
	c.wire, _ = c.conn.Conn().(*tap)
	if c.kind.set == nil {
		return true
	}
	if err := c.kind.set(c, ctx); err != nil {
		c.failed(a, err, false)
		c.leave()
		return false
	}
	return true
}

// begin opens a note about a unit that writes n rows.
func (c *client) begin() attempt { return attempt{Client: c.id, Kind: c.kind.name, Sent: time.Now()} }

func (c *client) rows(n int) attempt {
	a := c.begin()
	for range n {
		c.seq++
		a.Seqs = append(a.Seqs, c.seq)
	}
	return a
}

func (c *client) note(a attempt) {
	a.Done = time.Now()
	c.attempts = append(c.attempts, a)
}

// failed notes an error and leaves the block it may have left open.
func (c *client) failed(a attempt, err error, committing bool) {
	var last *pgconn.PgError
	cut := c.conn.IsClosed()
	if cut {
		<-c.conn.CleanupDone()
		if c.wire != nil {
			last = c.wire.reason()
		}
	}
	a.Fault = faultOf(err, cut, last)
	a.Outcome = outcomeOf(a.Fault, committing)
	c.note(a)
	c.rollBack()
}

func (c *client) rollBack() {
	if c.conn.IsClosed() || c.conn.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b := c.begin()
	if _, err := c.exec(ctx, "ROLLBACK"); err != nil {
		c.failed(b, err, false)
	}
}

// wrong notes an answer that is not true.
func (c *client) wrong(a attempt, format string, args ...any) {
	a.Fault = &fault{Wrong: true, Message: fmt.Sprintf(format, args...)}
	a.Outcome = unknown
	c.note(a)
}

func (c *client) exec(ctx context.Context, sql string) ([]*pgconn.Result, error) {
	return c.conn.Exec(ctx, sql).ReadAll()
}

// result is the one row of the last statement that had rows.
func lastRow(results []*pgconn.Result) [][]byte {
	for i := len(results) - 1; i >= 0; i-- {
		if len(results[i].Rows) > 0 {
			return results[i].Rows[0]
		}
	}
	return nil
}

func placeOf(row [][]byte) place {
	if len(row) != 3 {
		return place{}
	}
	return place{Server: string(row[0]), Timeline: string(row[1]), LSN: parseLSN(string(row[2]))}
}

// done notes the answer of a unit that ends with a tag; a COMMIT that answers ROLLBACK has done nothing.
func (c *client) done(a attempt, at place, tag string) {
	a.At = at
	if tag == "ROLLBACK" {
		a.Outcome = refused
	}
	c.note(a)
}

func (c *client) insertText(a attempt) string {
	var values []string
	for _, seq := range a.Seqs {
		values = append(values, fmt.Sprintf("(%d, %d)", c.id, seq))
	}
	return "INSERT INTO chaos_rows (client, seq) VALUES " + strings.Join(values, ", ")
}

func (c *client) args(seq int) [][]byte {
	return [][]byte{[]byte(strconv.Itoa(c.id)), []byte(strconv.Itoa(seq))}
}

// kinds are all clients, one of each.
func kinds() []kind {
	texts := func(name string, n int, make func(c *client, a attempt) string) kind {
		return kind{name: name, work: func(c *client, ctx context.Context) { c.oneText(ctx, n, make) }}
	}
	return []kind{
		texts("simple", 1, func(c *client, a attempt) string { return c.insertText(a) + returning }),
		texts("several", 3, func(c *client, a attempt) string { return c.insertText(a) + returning }),
		texts("string", 2, func(c *client, a attempt) string {
			return c.insertText(attempt{Seqs: a.Seqs[:1]}) + "; " + c.insertText(attempt{Seqs: a.Seqs[1:]}) + returning
		}),
		texts("block", 1, func(c *client, a attempt) string { return "BEGIN; " + c.insertText(a) + returning + "; COMMIT" }),
		texts("function", 1, func(c *client, a attempt) string {
			return fmt.Sprintf("SELECT * FROM chaos_write(%d, %d)", c.id, a.Seqs[0])
		}),
		texts("scalar", 1, func(c *client, a attempt) string { return fmt.Sprintf("SELECT chaos_note(%d, %d)", c.id, a.Seqs[0]) }),
		texts("operator", 1, func(c *client, a attempt) string { return fmt.Sprintf("SELECT %d @@@ %d", c.id, a.Seqs[0]) }),
		texts("with", 1, func(c *client, a attempt) string {
			return "WITH w AS (" + c.insertText(a) + " RETURNING client) SELECT " + herePlace + " FROM w"
		}),
		texts("do", 1, func(c *client, a attempt) string { return "DO $$BEGIN " + c.insertText(a) + "; END$$" }),
		texts("explain", 1, func(c *client, a attempt) string { return "EXPLAIN (ANALYZE, COSTS OFF) " + c.insertText(a) }),
		texts("slow", 1, func(c *client, a attempt) string {
			return fmt.Sprintf("INSERT INTO chaos_rows (client, seq) SELECT %d, %d FROM pg_sleep(%.2f)%s", c.id, a.Seqs[0], c.rng.Float64()/2, returning)
		}),
		texts("once", 1, func(c *client, a attempt) string { return c.insertText(a) + returning }), // leaves each time, see below
		{name: "extended", work: (*client).extended},
		{name: "hidden", set: func(c *client, ctx context.Context) error {
			_, err := c.conn.Prepare(ctx, "w", "SELECT x FROM (SELECT $1::int @@@ $2::int) AS t (x)", nil)
			return err
		}, work: (*client).prepared},
		{name: "called", set: func(c *client, ctx context.Context) error {
			_, err := c.conn.Prepare(ctx, "w", "SELECT chaos_note($1::int, $2::int)", nil)
			return err
		}, work: (*client).prepared},
		{name: "prepared", set: (*client).setPrepared, work: (*client).prepared},
		{name: "execute", set: func(c *client, ctx context.Context) error {
			_, err := c.exec(ctx, "PREPARE x (int, int) AS INSERT INTO chaos_rows (client, seq) VALUES ($1, $2)"+returning)
			return err
		}, work: func(c *client, ctx context.Context) {
			c.oneText(ctx, 1, func(c *client, a attempt) string { return fmt.Sprintf("EXECUTE x (%d, %d)", c.id, a.Seqs[0]) })
		}},
		{name: "transaction", work: (*client).transaction},
		{name: "chain", work: (*client).chain},
		{name: "copy", work: (*client).copyIn},
		{name: "pipeline", work: (*client).pipeline},
		{name: "batch", work: (*client).batch},
		{name: "cancel", work: (*client).cancelled},
		{name: "gone", work: (*client).gone},
		{name: "reader", work: (*client).read},
		{name: "settings", set: func(c *client, ctx context.Context) error {
			_, err := c.exec(ctx, fmt.Sprintf("SET chaos.mark = 'm%d'", c.id))
			return err
		}, work: (*client).mark},
		{name: "temp", set: func(c *client, ctx context.Context) error {
			_, err := c.exec(ctx, "CREATE TEMP TABLE mine AS SELECT 7 AS a")
			return err
		}, work: (*client).temp},
		{name: "listen", set: func(c *client, ctx context.Context) error {
			_, err := c.exec(ctx, "LISTEN chaos")
			return err
		}, work: (*client).mark0},
	}
}

// oneText sends one string that is one unit.
func (c *client) oneText(ctx context.Context, n int, make func(c *client, a attempt) string) {
	a := c.rows(n)
	results, err := c.exec(ctx, make(c, a))
	if err != nil {
		c.failed(a, err, true)
		return
	}
	tag := ""
	if len(results) > 0 {
		tag = results[len(results)-1].CommandTag.String()
	}
	c.done(a, placeOf(lastRow(results)), tag)
	if c.kind.name == "once" {
		c.leave()
	}
}

func (c *client) extended(ctx context.Context) {
	a := c.rows(1)
	sql := "INSERT INTO chaos_rows (client, seq) VALUES ($1::int, $2::int)" + returning
	c.extendedDone(a, c.conn.ExecParams(ctx, sql, c.args(a.Seqs[0]), nil, nil, nil).Read())
}

func (c *client) extendedDone(a attempt, r *pgconn.Result) {
	if r.Err != nil {
		c.failed(a, r.Err, true)
		return
	}
	c.done(a, placeOf(lastRow([]*pgconn.Result{r})), r.CommandTag.String())
}

func (c *client) setPrepared(ctx context.Context) error {
	_, err := c.conn.Prepare(ctx, "w", "INSERT INTO chaos_rows (client, seq) VALUES ($1, $2)"+returning, nil)
	return err
}

func (c *client) prepared(ctx context.Context) {
	a := c.rows(1)
	c.extendedDone(a, c.conn.ExecPrepared(ctx, "w", c.args(a.Seqs[0]), nil, nil).Read())
}

// transaction is a block of several messages, with savepoints and reads in it; one of five is rolled back.
func (c *client) transaction(ctx context.Context) {
	a, at := c.rows(2), place{}
	end := "COMMIT"
	if c.rng.IntN(5) == 0 {
		end = "ROLLBACK"
	}
	texts := []string{
		"BEGIN", c.insertText(attempt{Seqs: a.Seqs[:1]}), "SAVEPOINT s", fmt.Sprintf("SELECT count(*) FROM chaos_rows WHERE client = %d", c.id),
		"RELEASE s", c.insertText(attempt{Seqs: a.Seqs[1:]}) + returning, end,
	}
	for _, sql := range texts {
		results, err := c.exec(ctx, sql)
		if err != nil {
			c.failed(a, err, sql == "COMMIT")
			return
		}
		if strings.Contains(sql, "RETURNING") {
			at = placeOf(lastRow(results))
		}
		if sql == end {
			c.done(a, at, results[0].CommandTag.String())
			return
		}
		c.pause(time.Duration(c.rng.IntN(3)) * time.Millisecond)
	}
}

// chain has each transaction begin the next one.
func (c *client) chain(ctx context.Context) {
	b := c.begin()
	if _, err := c.exec(ctx, "BEGIN"); err != nil {
		c.failed(b, err, false)
		return
	}
	for range 4 {
		a := c.rows(1)
		results, err := c.exec(ctx, c.insertText(a)+returning)
		if err != nil {
			c.failed(a, err, false)
			return
		}
		at := placeOf(lastRow(results))
		if results, err = c.exec(ctx, "COMMIT AND CHAIN"); err != nil {
			c.failed(a, err, true)
			return
		}
		c.done(a, at, results[0].CommandTag.String())
	}
	c.rollBack()
}

func (c *client) copyIn(ctx context.Context) {
	a := c.rows(5)
	var text strings.Builder
	for _, seq := range a.Seqs {
		fmt.Fprintf(&text, "%d\t%d\n", c.id, seq)
	}
	tag, err := c.conn.CopyFrom(ctx, strings.NewReader(text.String()), "COPY chaos_rows (client, seq) FROM STDIN")
	if err != nil {
		c.failed(a, err, true)
		return
	}
	c.done(a, place{}, tag.String())
}

// pipeline sends several units, each with its Sync, before it reads.
func (c *client) pipeline(ctx context.Context) {
	var units []attempt
	p := c.conn.StartPipeline(ctx)
	for range 4 {
		a := c.rows(1)
		units = append(units, a)
		p.SendQueryParams("INSERT INTO chaos_rows (client, seq) VALUES ($1::int, $2::int)"+returning, c.args(a.Seqs[0]), nil, nil, nil)
		p.SendPipelineSync()
	}
	err := p.Flush()
	for i := range units {
		var at place
		if err == nil {
			at, err = c.oneReply(p)
		}
		if err != nil && !c.conn.IsClosed() { // this unit alone
			c.failed(units[i], err, true)
			err = nil
			continue
		}
		if err != nil {
			c.failed(units[i], err, true)
			continue
		}
		c.done(units[i], at, "")
	}
	_ = p.Close()
}

// oneReply reads up to the next ReadyForQuery.
func (c *client) oneReply(p *pgconn.Pipeline) (at place, err error) {
	for {
		r, e := p.GetResults()
		if e != nil {
			err = errors.Join(err, e)
			if c.conn.IsClosed() {
				return at, err
			}
			continue
		}
		switch r := r.(type) {
		case *pgconn.ResultReader:
			result := r.Read()
			if result.Err != nil {
				err = errors.Join(err, result.Err)
			}
			at = placeOf(lastRow([]*pgconn.Result{result}))
		case *pgconn.PipelineSync:
			return at, err
		case nil:
			return at, errors.Join(err, errors.New("chaos: the pipeline ended early"))
		}
		if err != nil && c.conn.IsClosed() {
			return at, err
		}
	}
}

// batch sends several statements with one Sync: one unit.
func (c *client) batch(ctx context.Context) {
	a := c.rows(3)
	p := c.conn.StartPipeline(ctx)
	for _, seq := range a.Seqs {
		p.SendQueryParams("INSERT INTO chaos_rows (client, seq) VALUES ($1::int, $2::int)"+returning, c.args(seq), nil, nil, nil)
	}
	err := p.Sync()
	var at place
	if err == nil {
		at, err = c.oneReply(p)
	}
	if err != nil {
		c.failed(a, err, true)
	} else {
		c.done(a, at, "")
	}
	_ = p.Close()
}

// cancelled asks for the end of what it does.
func (c *client) cancelled(ctx context.Context) {
	a := c.rows(1)
	conn, after := c.conn, time.Duration(c.rng.IntN(60))*time.Millisecond
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		c.pause(after)
		soon, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = conn.CancelRequest(soon) // it may be lost, that is all
	}()
	results, err := c.exec(ctx, fmt.Sprintf("INSERT INTO chaos_rows (client, seq) SELECT %d, %d FROM pg_sleep(0.05)%s", c.id, a.Seqs[0], returning))
	<-asked
	if err != nil {
		c.failed(a, err, true)
		return
	}
	c.done(a, placeOf(lastRow(results)), "")
}

// gone hangs up in the middle of a statement.
func (c *client) gone(context.Context) {
	a := c.rows(1)
	a.Outcome = unknown
	frame := append([]byte{'Q', 0, 0, 0, 0}, c.insertText(a)+"\x00"...)
	frame[3], frame[4] = byte((len(frame)-1)>>8), byte(len(frame)-1)
	_, _ = c.conn.Conn().Write(frame) // whether it arrives or not
	c.pause(time.Duration(c.rng.IntN(5)) * time.Millisecond)
	_ = c.conn.Conn().Close()
	c.note(a)
	c.leave()
}

// expect asks a question and compares the answer.
func (c *client) expect(ctx context.Context, sql, want string) {
	a := c.begin()
	results, err := c.exec(ctx, sql)
	if err != nil {
		c.failed(a, err, false)
		return
	}
	if row := lastRow(results); len(row) != 1 || string(row[0]) != want {
		c.wrong(a, "%s: %q, not %q", sql, row, want)
		return
	}
	c.note(a)
}

func (c *client) read(ctx context.Context) {
	n := strconv.Itoa(c.rng.IntN(1000))
	c.expect(ctx, "SELECT v || '"+n+"' FROM chaos_small WHERE id = 1", "one"+n)
}

func (c *client) mark(ctx context.Context) {
	c.expect(ctx, "SELECT current_setting('chaos.mark')", fmt.Sprintf("m%d", c.id))
}

func (c *client) mark0(ctx context.Context) { c.expect(ctx, "SELECT 1", "1") }

func (c *client) temp(ctx context.Context) { c.expect(ctx, "SELECT a FROM mine", "7") }
