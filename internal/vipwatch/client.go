package vipwatch

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// client runs SELECT 1 through the address, each on a session of its own, whatever became of those before.
type client struct {
	watch  *Watch
	config *pgconn.Config
}

func (w *Watch) newClient() (*client, error) {
	config, err := pgconn.ParseConfig("host=" + w.opts.VIP.String() + " port=" + strconv.Itoa(w.opts.Port) + " dbname=postgres sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.User, config.Fallbacks = w.opts.User, nil
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return w.opts.Client.Dial(ctx, network, address)
	}
	return &client{watch: w, config: config}, nil
}

func (c *client) run(ctx context.Context) {
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	var under sync.WaitGroup
	defer under.Wait()
	for {
		under.Go(func() { c.try() })
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// try is not broken off at the end of the watch: that would look like a failure.
func (c *client) try() {
	ctx, cancel := context.WithTimeout(context.Background(), tryLimit)
	defer cancel()
	a := Attempt{Began: c.watch.Now()}
	err := c.ask(ctx)
	a.Ended = c.watch.Now()
	if err != nil {
		a.Err = reason(err)
	}
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	c.watch.record.Selects = append(c.watch.record.Selects, a)
}

func (c *client) ask(ctx context.Context) error {
	conn, err := pgconn.ConnectConfig(ctx, c.config)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	results, err := conn.Exec(ctx, "SELECT 1").ReadAll()
	if err == nil && (len(results) != 1 || len(results[0].Rows) != 1) {
		err = errors.New("no row")
	}
	return err
}

// reason is an error without what differs from one attempt to the next.
func reason(err error) string {
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		return pgErr.Code + " " + pgErr.Message
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return "timeout"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}
