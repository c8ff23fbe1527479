package wdha

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/hosts"
)

const (
	// think is the pause between two writes, sulk the one after an error.
	think = 40 * time.Millisecond
	sulk  = 100 * time.Millisecond
	// patience is how long a client waits for an answer; it is longer than failover_hold_timeout.
	patience = 30 * time.Second
)

// client writes rows, one after another. Its notes are its own until it has stopped; progress is for others.
type client struct {
	id      int
	way     way
	from    *hosts.Host
	address string
	clock   func() time.Duration
	ended   chan struct{}

	conn  *pgconn.PgConn
	notes []note

	mu   sync.Mutex
	last note // guarded by mu: acknowledged last
}

// dial opens a session from a host.
func dial(ctx context.Context, from *hosts.Host, address string) (*pgconn.PgConn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%s user=postgres dbname=postgres sslmode=disable", host, port))
	if err != nil {
		return nil, err
	}
	config.Fallbacks = nil
	config.DialFunc = from.Dial
	return pgconn.ConnectConfig(ctx, config)
}

// run writes until ctx ends. A write that is under way then is waited for.
func (c *client) run(ctx context.Context) {
	defer close(c.ended)
	defer c.leave()
	for seq := 1; ctx.Err() == nil; seq++ {
		n := c.write(seq)
		c.notes = append(c.notes, n)
		wait := think
		if n.acked() {
			c.mu.Lock()
			c.last = n
			c.mu.Unlock()
		} else {
			wait = sulk
		}
		rest(ctx, wait)
	}
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *client) leave() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.conn.Close(ctx) // nothing is under way
	<-c.conn.CleanupDone()
	c.conn = nil
}

// write sends one row, on a new session where there is none. The server and its timeline are told with the acknowledgement.
func (c *client) write(seq int) (n note) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n = note{client: c.id, seq: seq, way: c.way, sent: c.clock()}
	defer func() { n.done = c.clock() }()
	if c.conn == nil {
		conn, err := dial(ctx, c.from, c.address)
		if err != nil {
			n.harmless = true
			n.code = "no session: " + codeOf(err)
			return n
		}
		c.conn = conn
		n.sent = c.clock()
	}
	results, err := c.conn.Exec(ctx, fmt.Sprintf("INSERT INTO wdha_rows VALUES (%d, %d) RETURNING current_setting('cluster_name'), "+
		"substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)", c.id, seq)).ReadAll()
	if err == nil && (len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 2) {
		err = errors.New("an answer without a row")
	}
	if err != nil {
		n.code = codeOf(err)
		n.harmless = harmless(n.code) || strings.Contains(err.Error(), "has had no effect")
		if n.code != "25006" || c.conn.IsClosed() {
			c.leave()
		}
		return n
	}
	row := results[0].Rows[0]
	n.server, n.timeline = string(row[0]), strings.TrimLeft(string(row[1]), "0")
	return n
}

// codeOf is the SQLSTATE of an error, or what happened in a few words.
func codeOf(err error) string {
	var response *pgconn.PgError
	switch {
	case errors.As(err, &response):
		return response.Code
	case pgconn.Timeout(err):
		return "no answer"
	case strings.Contains(err.Error(), "refused"):
		return "refused"
	}
	return "cut"
}

// progress is the write that was acknowledged last.
func (c *client) progress() note {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// crew are the clients at work in one case.
type crew struct {
	all    []*client
	cancel context.CancelFunc
}

func (b *bench) hire() *crew {
	ctx, cancel := context.WithCancel(context.Background())
	w := &crew{cancel: cancel}
	add := func(how way, from *hosts.Host, address string) {
		b.hired++
		w.all = append(w.all, &client{id: b.hired, way: how, from: from, address: address, clock: b.now, ended: make(chan struct{})})
	}
	for range 2 {
		add(byVIP, b.Client, net.JoinHostPort(b.VIP.String(), poolPort))
	}
	for _, p := range b.Pgpools {
		add(byPool, p.Host, net.JoinHostPort(p.Host.Address().String(), poolPort))
	}
	for _, s := range b.Servers {
		add(direct, s.Host, net.JoinHostPort(s.Host.Address().String(), serverPort))
	}
	for _, c := range w.all {
		go c.run(ctx)
	}
	return w
}

// dismiss ends their work and returns what they wrote down.
func (w *crew) dismiss() (all []note) {
	w.cancel()
	for _, c := range w.all {
		<-c.ended
		all = append(all, c.notes...)
		c.notes = nil
	}
	return all
}

// wrote is the newest acknowledged write of a kind.
func (w *crew) wrote(how way) (newest note) {
	for _, c := range w.all {
		if n := c.progress(); c.way == how && n.done > newest.done {
			newest = n
		}
	}
	return newest
}
