package leak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// stepPatience bounds one statement.
const stepPatience = 2 * time.Minute

// live is a session that runs.
type live struct {
	session
	conn  *pgconn.PgConn
	stage *stage
	kept  map[string]string

	mu    sync.Mutex
	heard []string // channels; guarded by mu
}

// live runs a session from its login to its end. The error says what was wrong, as the session saw it.
func (s *stage) live(ctx context.Context, what session) error {
	l := &live{session: what, stage: s, kept: map[string]string{}}
	if err := l.login(ctx); err != nil {
		return err
	}
	defer l.conn.Conn().Close() // whatever happens; a second Close is harmless
	if err := l.look(ctx); err != nil {
		return err
	}
	for i, st := range l.steps {
		if err := l.take(ctx, st); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, st, err)
		}
	}
	if err := l.overhear(); err != nil {
		return err
	}
	if err := l.finish(ctx); err != nil {
		return fmt.Errorf("%s: %w", l.end, err)
	}
	return nil
}

func (l *live) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	config, err := pgconn.ParseConfig(l.stage.pool.ConnString(append([]string{"user=" + l.role}, l.words...)...))
	if err != nil {
		return err
	}
	config.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.heard = append(l.heard, n.Channel)
	}
	if l.conn, err = pgconn.ConnectConfig(ctx, config); err != nil {
		return fmt.Errorf("login: %w", err)
	}
	if status := l.conn.TxStatus(); status != 'I' {
		return fmt.Errorf("after the login the transaction status is %q", status)
	}
	return nil
}

// look compares what there is with a fresh connection: on the primary, and wherever a read goes.
func (l *live) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	queries := []string{onPrimary + sees, sees}
	if l.number%2 == 0 { // the first look may be one that can go anywhere
		queries = queries[1:]
	}
	for _, sql := range queries {
		seen, err := see(ctx, l.conn, sql)
		if err != nil {
			return fmt.Errorf("look: %w", err)
		}
		if found := l.stage.foreign(seen, l.role, l.given); len(found) > 0 {
			return fmt.Errorf("sees at its beginning (standby %t): %s", seen.standby, strings.Join(found, "; "))
		}
	}
	return nil
}

// take runs one statement and compares.
func (l *live) take(ctx context.Context, st step) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	value, err := l.run(ctx, st)
	codes := st.code
	if st.same != "" && l.stage.mode != "session" && err != nil {
		codes = "55000" // what nextval has left on a connection is not followed elsewhere: refused, but never another value
	}
	if err != nil || codes != "" {
		return refusal(err, codes)
	}
	for name := range strings.FieldsSeq(st.save) {
		l.kept[name] = value
	}
	switch {
	case st.want != "" && value != st.want:
		return fmt.Errorf("got %q, not %q", value, st.want)
	case st.same != "" && value != l.kept[st.same]:
		return fmt.Errorf("got %q, not %q as before", value, l.kept[st.same])
	case st.seeded && !l.stage.isSeeded(value):
		return fmt.Errorf("got %s, which does not follow the seed", value)
	}
	return nil
}

// refusal compares an error with the codes that are expected.
func refusal(err error, codes string) error {
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return errors.New("it succeeded")
	case codes == "" || !errors.As(err, &refused):
		return err
	case !strings.Contains(codes, refused.Code):
		return err
	}
	return nil
}

// run returns the first column of the first row.
func (l *live) run(ctx context.Context, st step) (string, error) {
	switch st.way {
	case parsed:
		if _, err := l.conn.Prepare(ctx, st.name, st.sql, nil); err != nil {
			return "", err
		}
		fallthrough
	case again:
		result := l.conn.ExecPrepared(ctx, st.name, nil, nil, nil).Read()
		return first([]*pgconn.Result{result}), result.Err
	case unnamed:
		result := l.conn.ExecParams(ctx, st.sql, nil, nil, nil, nil).Read()
		return first([]*pgconn.Result{result}), result.Err
	default:
		results, err := l.conn.Exec(ctx, st.sql).ReadAll()
		return first(results), err
	}
}

func first(results []*pgconn.Result) string {
	for _, r := range results {
		if len(r.Rows) > 0 && len(r.Rows[0]) > 0 {
			return string(r.Rows[0][0])
		}
	}
	return ""
}

// overhear finds notifications of channels it has never listened to.
func (l *live) overhear() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, channel := range l.heard {
		if !l.channels[channel] {
			return fmt.Errorf("heard from %s, to which it has not listened", channel)
		}
	}
	return nil
}

// finish ends the session as it was drawn.
func (l *live) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	if err := l.prelude(ctx); err != nil {
		return err
	}
	if l.end == terminate || l.end == terminateOpen {
		return l.conn.Close(ctx)
	}
	if last := l.lastWords(); last != nil {
		if _, err := l.conn.Conn().Write(last); err != nil {
			return err
		}
	}
	if tcp, ok := l.conn.Conn().(*net.TCPConn); ok && l.reset {
		if err := tcp.SetLinger(0); err != nil {
			return err
		}
	}
	return l.conn.Conn().Close()
}

// prelude is what the session does before it ends: it opens a transaction and changes something.
func (l *live) prelude(ctx context.Context) error {
	var steps []step
	switch l.end {
	case terminate, vanishIdle, vanishHeader, vanishBody:
	case vanishFailed:
		steps = []step{{sql: "BEGIN"}, {sql: l.change()}, {sql: "SELECT 1/0", code: "22012"}}
	case vanishCopy:
		steps = []step{{sql: "BEGIN"}}
	default:
		steps = []step{{sql: "BEGIN"}, {sql: l.change()}}
	}
	for _, st := range steps {
		if err := l.take(ctx, st); err != nil {
			return fmt.Errorf("%s: %w", st, err)
		}
	}
	return nil
}

func (l *live) change() string {
	return fmt.Sprintf("INSERT INTO public.leak_rows (id, session) VALUES (-1, %d); SET LOCAL work_mem = '99MB'; SET enable_sort = off", l.number)
}

// lastWords are written just before the socket is closed.
func (l *live) lastWords() []byte {
	switch l.end {
	case vanishBusy:
		return message('Q', "SELECT pg_sleep(0.2), pg_advisory_lock(1), 1\x00")
	case vanishCopy:
		copied := message('d', fmt.Sprintf("-1\t%d\n", l.number))
		return append(message('Q', "COPY public.leak_rows (id, session) FROM STDIN\x00"), copied...)
	case vanishBatch:
		batch := message('P', "leak_vanished\x00SELECT set_config('work_mem', '98MB', false)\x00\x00\x00")
		batch = append(batch, message('B', "\x00leak_vanished\x00\x00\x00\x00\x00\x00\x00")...)
		return append(batch, message('E', "\x00\x00\x00\x00\x00")...)
	case vanishHeader:
		return message('Q', "SELECT 1\x00")[:3]
	case vanishBody:
		return message('P', "leak_half\x00SELECT set_config('work_mem', '97MB', false)\x00\x00\x00")[:20]
	default:
		return nil
	}
}

func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}
