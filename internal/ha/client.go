package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// appPrefix begins the application_name of every session that goes through the pgpool under test.
	appPrefix = "ha-"
	// writes begins every statement that writes; the servers' logs are searched for it.
	writes = "INSERT INTO ha_rows"

	// reads begins what readers ask, before the number of the statement.
	reads = "SELECT current_setting('cluster_name'), v, "

	// patience is how long a client waits for one answer before it calls the statement hung.
	patience = 40 * time.Second
	// retryLogin is the pause after a refused login.
	retryLogin = 50 * time.Millisecond
	// lookAround is how often an idle client looks whether it was cut, idleWork how often it works.
	lookAround = 20 * time.Millisecond
	idleWork   = 700 * time.Millisecond
)

// client works on one session after another until it is told to stop. Its notes are its own until it has stopped.
type client struct {
	role  role
	id    int
	dsn   string
	think time.Duration // pause between two statements
	// commits: half of these writers use transaction blocks, half of them the extended protocol.
	commits bool
	seq     int

	attempts  []attempt
	slowest   attempt // the acknowledged one that took longest
	logins    int     // that succeeded
	node      string  // the server that answered last, of readers
	lookText  string  // what an idle client looks at its setting with; empty: the prepared statement
	stop      <-chan struct{}
	conn      *pgconn.PgConn
	wire      *tap
	lastAcked atomic.Int64 // Unix ns at which its last acknowledged statement was sent
}

// run is the client's life.
func (c *client) run() {
	for !c.stopped() {
		if !c.login() {
			c.pause(retryLogin)
			continue
		}
		c.work()
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

// pause waits, not beyond the stop.
func (c *client) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.stop:
	}
}

// application is the application_name of a client's sessions.
func application(r role, id int) string { return fmt.Sprintf("%s%s%d", appPrefix, r.letter(), id) }

func (r role) letter() string { return [...]string{"w", "r", "i"}[r] }

// login opens a session and makes its settings.
func (c *client) login() bool {
	sent := time.Now()
	config, err := pgconn.ParseConfig(c.dsn + " application_name=" + application(c.role, c.id))
	if err != nil {
		panic("ha: the harness's own connection string: " + err.Error())
	}
	config.DialFunc = dialTap
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		c.note(sent, faultOf(err, atLogin, true, nil), refused)
		return false
	}
	c.conn, c.node = conn, ""
	c.wire, _ = conn.Conn().(*tap)
	c.logins++
	if err := c.prepare(ctx); err != nil {
		c.note(sent, c.faultOf(err, atSetup), refused)
		c.leave()
		return false
	}
	return true
}

// manner is how a writer writes.
type manner uint8

const (
	simply                manner = iota // by simple queries
	prepared                            // by a named prepared statement
	inTransaction                       // in a transaction block, by simple queries
	extended                            // by the unnamed statement
	inExtendedTransaction               // in a transaction block, all by the unnamed statement
)

// manner of a client. Of writers a quarter uses each of the first four; of committers half write in a transaction block, and half in the
// extended protocol.
func (c *client) manner() manner {
	if c.commits {
		return [...]manner{simply, inExtendedTransaction, inTransaction, [...]manner{prepared, extended}[c.id/4%2]}[c.id%4]
	}
	return [...]manner{simply, prepared, inTransaction, extended}[c.id%4]
}

// prepare gives the session the state it is to keep.
func (c *client) prepare(ctx context.Context) error {
	switch {
	case c.role == writer && c.manner() == prepared:
		_, err := c.conn.Prepare(ctx, "w", writes+" (client, seq) VALUES ($1, $2)", nil)
		return err
	case c.role == idler:
		if err := c.exec(ctx, fmt.Sprintf("SET ha.mark = 'm%d'", c.id)); err != nil {
			return err
		}
		return c.prepareLook(ctx)
	}
	return nil
}

// prepareLook prepares what an idle client looks at its setting with: by the protocol, by SQL, or not at all.
func (c *client) prepareLook(ctx context.Context) error {
	const look = "SELECT current_setting('cluster_name'), current_setting('ha.mark')"
	switch c.id % 3 {
	case 0:
		c.lookText = look
		return nil
	case 1:
		_, err := c.conn.Prepare(ctx, "look", look, nil)
		return err
	}
	c.lookText = "EXECUTE look"
	return c.exec(ctx, "PREPARE look AS "+look)
}

// leave closes the session.
func (c *client) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // whatever is said now concerns no statement
	<-c.conn.CleanupDone()
}

// work uses the session until it ends or the client is to stop.
func (c *client) work() {
	for !c.stopped() {
		switch c.role {
		case writer:
			c.write()
		case reader:
			c.read()
		case idler:
			if !c.idle() {
				return
			}
			c.look()
		}
		if c.conn.IsClosed() {
			return
		}
		c.pause(c.think)
	}
}

func (c *client) exec(ctx context.Context, sql string) error {
	_, err := c.conn.Exec(ctx, sql).ReadAll()
	return err
}

// write inserts one row.
func (c *client) write() {
	c.seq++
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	sent := time.Now()
	committing, err := c.insert(ctx)
	if err == nil {
		c.acknowledged(sent, "")
	} else {
		f := c.faultOf(err, atWork)
		c.note(sent, f, outcomeOf(f, !committing.IsZero()))
		if !f.Cut && c.conn.TxStatus() != 'I' {
			defer c.rollBack(ctx)
		}
	}
	last := &c.attempts[len(c.attempts)-1]
	last.Committing, last.Block = committing, c.manner() == inTransaction || c.manner() == inExtendedTransaction
}

func (c *client) rollBack(ctx context.Context) {
	sent := time.Now()
	if err := c.exec(ctx, "ROLLBACK"); err != nil {
		c.note(sent, c.faultOf(err, atWork), refused)
	}
}

// insert sends the row in this client's manner. committing: when that was sent which ends the transaction, so that an error may have come
// from there; zero if it was not.
func (c *client) insert(ctx context.Context) (committing time.Time, err error) {
	text := fmt.Sprintf("%s (client, seq) VALUES (%d, %d)", writes, c.id, c.seq)
	switch c.manner() {
	case inTransaction:
		return inBlock(text, func(sql string) error { return c.exec(ctx, sql) })
	case inExtendedTransaction:
		return inBlock(text, func(sql string) error { return c.execExtended(ctx, sql) })
	case prepared:
		args := [][]byte{[]byte(strconv.Itoa(c.id)), []byte(strconv.Itoa(c.seq))}
		return time.Now(), c.conn.ExecPrepared(ctx, "w", args, nil, nil).Read().Err
	case extended:
		return time.Now(), c.execExtended(ctx, text)
	case simply:
	}
	return time.Now(), c.exec(ctx, text)
}

func (c *client) execExtended(ctx context.Context, sql string) error {
	return c.conn.ExecParams(ctx, sql, nil, nil, nil, nil).Read().Err
}

// inBlock writes in a transaction block.
func inBlock(insert string, exec func(sql string) error) (committing time.Time, err error) {
	for _, sql := range []string{"BEGIN", insert} {
		if err := exec(sql); err != nil {
			return time.Time{}, err
		}
	}
	committing = time.Now()
	return committing, exec("COMMIT")
}

// read selects something a standby may answer, and its name.
func (c *client) read() {
	c.seq++
	sql := fmt.Sprintf("%s%d FROM ha_small WHERE id = 1", reads, c.seq)
	c.ask(sql, func(row [][]byte) (node, wrong string) {
		if len(row) != 3 || string(row[1]) != "one" || string(row[2]) != strconv.Itoa(c.seq) {
			return "", fmt.Sprintf("%q", row)
		}
		return string(row[0]), ""
	})
}

// look shows the session's setting.
func (c *client) look() {
	c.seq++
	c.ask(c.lookText, func(row [][]byte) (node, wrong string) {
		if len(row) != 2 || string(row[1]) != fmt.Sprintf("m%d", c.id) {
			return "", fmt.Sprintf("%q", row)
		}
		return string(row[0]), ""
	})
}

// ask sends a query of one row and has its answer judged.
func (c *client) ask(sql string, judge func(row [][]byte) (node, wrong string)) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	sent := time.Now()
	row, err := c.oneRow(ctx, sql)
	if err != nil {
		c.note(sent, c.faultOf(err, atWork), refused)
		return
	}
	node, wrong := judge(row)
	if wrong != "" {
		c.note(sent, &fault{During: atWork, Wrong: true, Message: wrong}, refused)
		return
	}
	c.acknowledged(sent, node)
}

// oneRow returns the only row of a query, nil if there is another number of them. Without a text the prepared statement is executed.
func (c *client) oneRow(ctx context.Context, sql string) ([][]byte, error) {
	if sql == "" {
		result := c.conn.ExecPrepared(ctx, "look", nil, nil, nil).Read()
		if len(result.Rows) != 1 {
			return nil, result.Err
		}
		return result.Rows[0], result.Err
	}
	results, err := c.conn.Exec(ctx, sql).ReadAll()
	if err != nil || len(results) != 1 || len(results[0].Rows) != 1 {
		return nil, err
	}
	return results[0].Rows[0], nil
}

// idle rests and tells whether the session outlived it.
func (c *client) idle() bool {
	until := time.Now().Add(idleWork)
	for time.Now().Before(until) && !c.stopped() {
		c.pause(lookAround)
		if c.wire == nil || !c.wire.rest() {
			continue
		}
		now := time.Now()
		err := c.exec(context.Background(), "SELECT 1") // fails, and brings the reason to light
		if err == nil {
			err = errors.New("a message nobody asked for")
		}
		c.note(now, c.faultOf(err, atRest), refused)
		return false
	}
	return true
}

func (c *client) faultOf(err error, at moment) *fault {
	if !c.conn.IsClosed() {
		return faultOf(err, at, false, nil)
	}
	<-c.conn.CleanupDone()
	var last *pgconn.PgError
	if c.wire != nil {
		last = c.wire.lastReason()
	}
	return faultOf(err, at, true, last)
}

func (c *client) acknowledged(sent time.Time, node string) {
	a := attempt{Client: c.id, Role: c.role, Seq: c.seq, Sent: sent, Done: time.Now(), Node: c.node, By: node}
	c.lastAcked.Store(sent.UnixNano())
	if a.took() > c.slowest.took() {
		c.slowest = a
	}
	c.attempts = append(c.attempts, a)
	c.node = node
}

func (c *client) note(sent time.Time, f *fault, o outcome) {
	c.attempts = append(c.attempts, attempt{
		Client: c.id, Role: c.role, Seq: c.seq, Sent: sent, Done: time.Now(), Outcome: o, Fault: f, Node: c.node,
	})
}

// table runs a query on a connection of its own and returns its rows by column.
func (c *client) table(ctx context.Context, sql string) ([]map[string]string, error) {
	conn, err := pgconn.Connect(ctx, c.dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // what closing says changes nothing
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var rows []map[string]string
	for _, r := range results {
		for _, values := range r.Rows {
			row := map[string]string{}
			for i, f := range r.FieldDescriptions {
				row[f.Name] = string(values[i])
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}
