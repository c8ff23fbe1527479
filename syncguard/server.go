package syncguard

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopgpool/cluster"
)

// Remembered is the custom setting of the primary that keeps what an administrator had set as synchronous_standby_names while something
// weaker is in force.
const Remembered = cluster.RememberedSyncNames

// Servers reaches the database servers.
type Servers interface {
	// Ping opens a new connection, has SELECT 1 answered and closes it. The context bounds it.
	Ping(ctx context.Context, n cluster.Node) error
	// Open logs in to the primary as a user who may see pg_stat_replication (pg_monitor), use ALTER SYSTEM and reload.
	Open(ctx context.Context, n cluster.Node) (Session, error)
}

// Session is a connection to a server; whoever opened it closes it.
type Session interface {
	// Rows runs one statement in the simple protocol; a field that is NULL is nil.
	Rows(ctx context.Context, sql string) ([][][]byte, error)
	Close()
}

const (
	settingsSQL = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('synchronous_standby_names')," +
		" coalesce(pg_catalog.current_setting('" + Remembered + "', true), '')," +
		" CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_lsn() END"
	// attentiveSQL: the checkpointer waits, which it does when it has nothing else to do and has read its settings, or a commit waits.
	attentiveSQL = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE wait_event = 'SyncRep'" +
		" OR backend_type = 'checkpointer' AND wait_event IN ('CheckpointerMain', 'CheckpointWriteDelay'))"
	writesSQL = "SELECT pg_catalog.pg_current_wal_lsn()"
	peersSQL  = "SELECT application_name, state, sync_state, flush_lsn FROM pg_catalog.pg_stat_replication"
	// filesSQL finds what is in force without ALTER SYSTEM.
	filesSQL = "SELECT setting FROM pg_catalog.pg_file_settings WHERE name = 'synchronous_standby_names'" +
		" AND sourcefile NOT LIKE '%/postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1"
	reloadSQL  = "SELECT pg_catalog.pg_reload_conf()"
	inForceSQL = "SHOW synchronous_standby_names"
)

var (
	errNotPrimary = errors.New("it is in recovery, so it is no primary")
	errUnreadable = errors.New("unexpected answer")
	errBlind      = errors.New("its user may not see pg_stat_replication: grant it pg_monitor")
)

// ask looks at the primary. Who streams is asked after where it writes, so that a standby seen there has all of it or not; and last where it
// writes by now, so that what is seen to be in effect was so before. Obeyed is what the server shows at this moment.
func ask(ctx context.Context, s Session) (Look, error) {
	rows, err := s.Rows(ctx, settingsSQL)
	if err != nil {
		return Look{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 4 {
		return Look{}, errUnreadable
	}
	r := rows[0]
	if string(r[0]) != "f" {
		return Look{}, errNotPrimary
	}
	l := Look{InForce: string(r[1]), Remembered: string(r[2])}
	if l.LSN, err = cluster.ParseLSN(string(r[3])); err != nil {
		return Look{}, err
	}
	if rows, err = s.Rows(ctx, peersSQL); err != nil {
		return Look{}, err
	}
	for _, r := range rows {
		p, err := peer(r)
		if err != nil {
			return Look{}, err
		}
		l.Peers = append(l.Peers, p)
	}
	attentive, err := value(ctx, s, attentiveSQL)
	if err != nil {
		return Look{}, err
	}
	l.Obeyed = attentive == "t"
	after, err := value(ctx, s, writesSQL)
	if err == nil {
		l.After, err = cluster.ParseLSN(after)
	}
	return l, err
}

// value is the one field of a statement's one row.
func value(ctx context.Context, s Session, sql string) (string, error) {
	rows, err := s.Rows(ctx, sql)
	if err == nil && (len(rows) != 1 || len(rows[0]) != 1) {
		err = errUnreadable
	}
	if err != nil {
		return "", err
	}
	return string(rows[0][0]), nil
}

func peer(r [][]byte) (Peer, error) {
	if len(r) != 4 {
		return Peer{}, errUnreadable
	}
	if r[1] == nil {
		return Peer{}, errBlind
	}
	p := Peer{Name: string(r[0]), State: string(r[1]), Sync: string(r[2])}
	if len(r[3]) == 0 {
		return p, nil
	}
	lsn, err := cluster.ParseLSN(string(r[3]))
	p.Flush = lsn
	return p, err
}

// remember keeps a setting on the server. Before version 17 a custom setting must be known to the session to be kept.
func remember(ctx context.Context, s Session, names string) error {
	if err := do(ctx, s, "SET "+Remembered+" = ''"); err != nil {
		return err
	}
	if err := do(ctx, s, "ALTER SYSTEM SET "+Remembered+" = "+literal(names)); err != nil {
		return err
	}
	return do(ctx, s, reloadSQL)
}

// unremember takes away what remember kept.
func unremember(ctx context.Context, s Session) error {
	if err := do(ctx, s, "ALTER SYSTEM RESET "+Remembered); err != nil {
		return err
	}
	return do(ctx, s, reloadSQL)
}

// put puts names in force and returns when the server says so. back: it is what an administrator had set, so where that stands in his own
// file too, ours is taken away.
func put(ctx context.Context, s Session, names string, back bool) error {
	sql := "ALTER SYSTEM SET synchronous_standby_names = " + literal(names)
	if back && inFiles(ctx, s, names) {
		sql = "ALTER SYSTEM RESET synchronous_standby_names"
	}
	if err := do(ctx, s, sql); err != nil {
		return err
	}
	if err := do(ctx, s, reloadSQL); err != nil {
		return err
	}
	return awaitForce(ctx, s, names)
}

// inFiles reports whether names is what an administrator's own file says. Without the right to know, it is not.
func inFiles(ctx context.Context, s Session, names string) bool {
	text, err := value(ctx, s, filesSQL)
	return err == nil && text == names
}

// forceEvery is how often it is asked whether a reload has had its effect.
const forceEvery = 20 * time.Millisecond

// awaitForce waits until the session has read the setting.
func awaitForce(ctx context.Context, s Session, names string) error {
	tick := time.NewTicker(forceEvery)
	defer tick.Stop()
	for still := ""; ; {
		now, err := value(ctx, s, inForceSQL)
		switch {
		case err == nil && now == names:
			return nil
		case err == nil:
			still = now
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("after ALTER SYSTEM and a reload synchronous_standby_names is still %q: is it given on the server's command line?", still)
		}
	}
}

func do(ctx context.Context, s Session, sql string) error {
	_, err := s.Rows(ctx, sql)
	return err
}

// literal quotes a text, whatever standard_conforming_strings is.
func literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// quote is a setting as log lines show it.
func quote(s string) string { return strconv.Quote(s) }
