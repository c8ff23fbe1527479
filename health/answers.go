package health

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gopgpool/cluster"
)

// version is the server's major version, 0 if it did not tell.
func (c *Conn) version() int { return major(c.pg.ParameterStatus("server_version")) }

// major reads the number a version begins with, 0 if there is none.
func major(version string) int {
	digits := 0
	for digits < len(version) && version[digits] >= '0' && version[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(version[:digits])
	if err != nil {
		return 0
	}
	return n
}

// Answer is what a server said of itself.
type Answer struct {
	Role cluster.Role // RolePrimary or RoleStandby
	// LSN is the write position of a primary, the replay position of a standby; Received is how far a standby has received.
	LSN, Received cluster.LSN
	Timeline      cluster.Timeline // of a primary
	Sync          string           // synchronous_standby_names
	Version       int              // major version, 0 if the server did not tell
}

// The positions under the names of version 10 and those before.
const (
	positionSQL = "SELECT pg_catalog.pg_is_in_recovery()," +
		" CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()" +
		" ELSE pg_catalog.pg_current_wal_lsn() END, pg_catalog.pg_last_wal_receive_lsn()," +
		" CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END," +
		" pg_catalog.current_setting('synchronous_standby_names')"
	positionSQL9 = "SELECT pg_catalog.pg_is_in_recovery()," +
		" CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_xlog_replay_location()" +
		" ELSE pg_catalog.pg_current_xlog_location() END, pg_catalog.pg_last_xlog_receive_location()," +
		" CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_xlogfile_name(pg_catalog.pg_current_xlog_location()) END," +
		" pg_catalog.current_setting('synchronous_standby_names')"
)

// Position asks for role and position in the write-ahead log.
func (c *Conn) Position(ctx context.Context) (Answer, error) {
	a := Answer{Version: c.version()}
	sql := positionSQL
	if a.Version > 0 && a.Version < 10 {
		sql = positionSQL9
	}
	rows, err := c.query(ctx, sql)
	if err != nil {
		return Answer{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 5 {
		return Answer{}, &Error{Node: c.node, Trouble: Broken, Err: errors.New("unexpected answer to the question for its role")}
	}
	row := rows[0]
	switch string(row[0]) {
	case "t":
		a.Role = cluster.RoleStandby
	case "f":
		a.Role = cluster.RolePrimary
	default:
		return Answer{}, &Error{Node: c.node, Trouble: Broken, Err: fmt.Errorf("pg_is_in_recovery() is %q", row[0])}
	}
	// A standby that has replayed nothing yet has no position, and one that never streamed received nothing.
	if a.LSN, err = lsn(row[1]); err == nil {
		a.Received, err = lsn(row[2])
	}
	if err != nil {
		return Answer{}, &Error{Node: c.node, Trouble: Broken, Err: err}
	}
	a.Timeline, a.Sync = timeline(row[3]), string(row[4])
	return a, nil
}

// timeline reads the first eight digits of the name of a WAL file, which are hexadecimal.
func timeline(file []byte) cluster.Timeline {
	const digits = 8
	if len(file) < digits {
		return 0
	}
	n, err := strconv.ParseUint(string(file[:digits]), 16, 32)
	if err != nil {
		return 0
	}
	return cluster.Timeline(n)
}

// tellsOf asks for role and position and, if upstream is set, a standby for the node it streams from.
func (c *Conn) tellsOf(ctx context.Context, v *cluster.View, upstream bool) (Answer, cluster.NodeID, error) {
	a, err := c.Position(ctx)
	if err != nil || !upstream || a.Role != cluster.RoleStandby {
		return a, cluster.NoNode, err
	}
	r, err := c.receiver(ctx)
	if err != nil && !c.dead() {
		err = nil // it tells its role and not this
	}
	return a, upstreamOf(v, int(c.node), r), err
}

func lsn(b []byte) (cluster.LSN, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return cluster.ParseLSN(string(b))
}

// Peer is a row of a primary's pg_stat_replication.
type Peer struct {
	ApplicationName, State, SyncState string
	// ReplayLag is how long ago what the standby replayed last was written; 0 where the server does not tell.
	ReplayLag time.Duration
}

const (
	peersSQL = "SELECT application_name, state, sync_state," +
		" pg_catalog.round(extract(epoch FROM replay_lag) * 1000000)::pg_catalog.int8" +
		" FROM pg_catalog.pg_stat_replication"
	peersSQL9 = "SELECT application_name, state, sync_state, NULL FROM pg_catalog.pg_stat_replication"
)

// Peers asks a primary who streams from it. Without the role pg_monitor all fields but the name are empty.
func (c *Conn) Peers(ctx context.Context) ([]Peer, error) {
	sql := peersSQL
	if v := c.version(); v > 0 && v < 10 {
		sql = peersSQL9
	}
	rows, err := c.query(ctx, sql)
	if err != nil {
		return nil, err
	}
	peers := make([]Peer, 0, len(rows))
	for _, row := range rows {
		if len(row) != 4 {
			return nil, &Error{Node: c.node, Trouble: Broken, Err: errors.New("unexpected answer of pg_stat_replication")}
		}
		p := Peer{ApplicationName: string(row[0]), State: string(row[1]), SyncState: string(row[2])}
		if len(row[3]) > 0 {
			micros, err := strconv.ParseInt(string(row[3]), 10, 64)
			if err != nil {
				return nil, &Error{Node: c.node, Trouble: Broken, Err: fmt.Errorf("replay_lag: %w", err)}
			}
			p.ReplayLag = time.Duration(max(micros, 0)) * time.Microsecond
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// query runs one statement in the simple protocol and returns the rows of its result in text form.
//
// A standby refuses all queries where default_transaction_isolation is serializable for the user or the database. What we ask can do without,
// and is asked so from then on. It is no parameter of the login, because what stands between us and a server may refuse that.
func (c *Conn) query(ctx context.Context, sql string) ([][][]byte, error) {
	results, err := c.pg.Exec(ctx, sql).ReadAll()
	if sqlState(err) == notSupported {
		if _, err = c.pg.Exec(ctx, "SET default_transaction_isolation = 'read committed'").ReadAll(); err == nil {
			results, err = c.pg.Exec(ctx, sql).ReadAll()
		}
	}
	if err != nil {
		c.bury()
		return nil, &Error{Node: c.node, Trouble: sortTrouble(err, false, false), Err: err}
	}
	if len(results) != 1 {
		return nil, &Error{Node: c.node, Trouble: Broken, Err: fmt.Errorf("%d results where one was expected", len(results))}
	}
	return results[0].Rows, nil
}

// notSupported is feature_not_supported.
const notSupported = "0A000"

// Rows runs one statement of another part over the connection, in the simple protocol, and returns the rows of its result in text form;
// NULL is nil. Its errors are of type *Error.
func (c *Conn) Rows(ctx context.Context, sql string) ([][][]byte, error) { return c.query(ctx, sql) }

// bury ends a connection that has broken at once: the driver would go on listening to a silent server.
func (c *Conn) bury() {
	if c.dead() {
		_ = c.pg.Conn().Close()
		<-c.pg.CleanupDone()
	}
}
