package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopgpool/cluster"
	"gopgpool/replication/conninfo"
)

// Slot is a physical replication slot of a server.
type Slot struct {
	Name string
	// Active: somebody streams by it. Reserved: it holds WAL back.
	Active, Reserved bool
}

// Peer is who streams from a server.
type Peer struct{ ApplicationName, State string }

// tidings are what a server says of itself.
type tidings struct {
	state   cluster.ServerState
	version int
	slots   []Slot
	peers   []Peer
	// limits are its settings of limitNames; empty: not known.
	limits []uint64
	// delayed: recovery_min_apply_delay is set, so what was received is replayed much later.
	delayed bool
}

// question is one round trip. A standby's newest timeline is told by its WAL receiver while that streams; when it is gone, by the names
// of the WAL files it has, because the control file knows only what has been replayed and flushed, and the receiver's shared memory is
// shown no more. The subqueries of a CASE are run only where they are asked for.
const question = "SELECT r, s.system_identifier," +
	" CASE WHEN NOT r THEN pg_walfile_name(pg_current_wal_insert_lsn()) END," +
	" c.timeline_id, y.min_recovery_end_timeline," +
	" w.status, w.received_tli, w.sender_host, w.sender_port," +
	" CASE WHEN r AND w.status IS DISTINCT FROM 'streaming' THEN" +
	" (SELECT max(left(name, 8)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$') END," +
	" CASE WHEN r THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END," +
	" CASE WHEN r THEN pg_last_wal_replay_lsn() END," +
	" CASE WHEN r THEN pg_is_wal_replay_paused() END," +
	" current_setting('primary_conninfo'), current_setting('primary_slot_name'), current_setting('cluster_name')," +
	" current_setting('synchronous_standby_names'), current_setting('recovery_min_apply_delay')," +
	" txid_snapshot_xmax(txid_current_snapshot())," +
	" (SELECT string_agg(slot_name || ' ' || active || ' ' || (restart_lsn IS NOT NULL), ',')" +
	" FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary)," +
	" (SELECT string_agg(quote_literal(application_name) || ' ' || coalesce(state, ''), ',') FROM pg_stat_replication)," +
	" concat_ws(' ', current_setting('max_connections'), current_setting('max_worker_processes'), current_setting('max_wal_senders')," +
	" current_setting('max_prepared_transactions'), current_setting('max_locks_per_transaction'))" +
	" FROM pg_is_in_recovery() r, pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() y" +
	" LEFT JOIN pg_stat_wal_receiver w ON true"

const questionWidth = 22

// tell asks a server what it is.
func (s *server) tell(ctx context.Context) (tidings, error) {
	row, err := s.row(ctx, question, questionWidth)
	if sqlState(err) == insufficientPrivilege {
		return tidings{}, fmt.Errorf("user %q needs to be a superuser or a member of pg_monitor: %w", s.access.user, err)
	}
	if err != nil {
		return tidings{}, err
	}
	t, err := parseTidings(row)
	t.version, t.state.Node = s.version(), s.node
	return t, err
}

const insufficientPrivilege = "42501"

// reader reads the columns of an answer one after another and keeps the first error.
type reader struct {
	row [][]byte
	err error
}

func (r *reader) text() string {
	if len(r.row) == 0 {
		r.fail(errors.New("too few columns"))
		return ""
	}
	c := r.row[0]
	r.row = r.row[1:]
	return string(c)
}

func (r *reader) fail(err error) {
	if r.err == nil && err != nil {
		r.err = err
	}
}

func (r *reader) flag() bool { return r.text() == "t" }

// number reads an unsigned number; system identifiers are bigint and may be printed with a sign.
func (r *reader) number() uint64 {
	t := r.text()
	if t == "" {
		return 0
	}
	if strings.HasPrefix(t, "-") {
		n, err := strconv.ParseInt(t, 10, 64)
		r.fail(err)
		return uint64(n)
	}
	n, err := strconv.ParseUint(t, 10, 64)
	r.fail(err)
	return n
}

func (r *reader) lsn() cluster.LSN {
	t := r.text()
	if t == "" {
		return 0
	}
	l, err := cluster.ParseLSN(t)
	r.fail(err)
	return l
}

// walFile reads the timeline out of the name of a WAL file or its first eight digits.
func (r *reader) walFile() cluster.Timeline {
	t := r.text()
	if t == "" {
		return 0
	}
	if len(t) < 8 {
		r.fail(fmt.Errorf("invalid WAL file name %q", t))
		return 0
	}
	n, err := strconv.ParseUint(t[:8], 16, 32)
	r.fail(err)
	return cluster.Timeline(n)
}

// parseTidings reads the row that answers question.
func parseTidings(row [][]byte) (tidings, error) {
	r := &reader{row: row}
	var t tidings
	st := &t.state
	st.InRecovery = r.flag()
	st.SystemID = r.number()
	own := r.walFile()
	checkpoint, recovered := cluster.Timeline(r.number()), cluster.Timeline(r.number())
	st.Streaming = r.text() == "streaming"
	receiving := cluster.Timeline(r.number())
	st.UpstreamHost, st.UpstreamPort = r.text(), int(r.number())
	held := r.walFile()
	st.Received, st.Replayed = r.lsn(), r.lsn()
	st.ReplayPaused = r.flag()
	st.ConnInfo, st.SlotName, st.ApplicationName, st.SyncNames = r.text(), r.text(), r.text(), r.text()
	t.delayed = strings.Trim(r.text(), "0msinhd ") != ""
	st.NextXID = cluster.XID(r.number())
	t.slots, t.peers = r.slots(), r.peers()
	t.limits = r.limits()
	if !st.InRecovery {
		st.Timeline, st.Streaming, st.Replayed = own, false, 0
		st.UpstreamHost, st.UpstreamPort = "", 0
		return t, r.err
	}
	st.Timeline = max(checkpoint, recovered, held)
	if st.Streaming {
		st.Timeline = max(st.Timeline, receiving)
	}
	// The receiver forgets at each start what the server has. It is asked for more once all of that was read, and knows a position from then on.
	st.Unread = st.Received == 0 && st.ConnInfo != ""
	st.Received = max(st.Received, st.Replayed)
	r.fail(upstream(st))
	return t, r.err
}

// upstream fills in what primary_conninfo tells, beyond what a receiver that streams says itself.
func upstream(st *cluster.ServerState) error {
	info, err := conninfo.Parse(st.ConnInfo)
	if err != nil {
		return fmt.Errorf("primary_conninfo: %w", err)
	}
	if name := info.Get("application_name"); name != "" {
		st.ApplicationName = name
	} else if st.ApplicationName == "" { // cluster_name, so far
		st.ApplicationName = "walreceiver"
	}
	if !st.Streaming || st.UpstreamHost == "" {
		st.UpstreamHost, st.UpstreamPort = target(&info)
	}
	return nil
}

// defaultPort is libpq's where a connection string names none.
const defaultPort = 5432

// target is the first server a connection string names. Without any setting it is none.
func target(in *conninfo.Info) (host string, port int) {
	if in.String() == "" {
		return "", 0
	}
	host = in.Get("host")
	if host == "" {
		host = in.Get("hostaddr")
	}
	host, _, _ = strings.Cut(host, ",")
	first, _, _ := strings.Cut(in.Get("port"), ",")
	port, err := strconv.Atoi(first)
	if err != nil {
		port = defaultPort
	}
	return host, port
}

func (r *reader) slots() []Slot {
	var slots []Slot
	for _, part := range split(r.text()) {
		f := strings.Fields(part)
		if len(f) != 3 {
			r.fail(fmt.Errorf("unexpected slot %q", part))
			return nil
		}
		slots = append(slots, Slot{Name: f[0], Active: f[1] == "true", Reserved: f[2] == "true"})
	}
	return slots
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// peers reads names in quotes, each with a state behind it.
func (r *reader) peers() []Peer {
	var peers []Peer
	for rest := r.text(); rest != ""; {
		name, after, ok := unquote(rest)
		if !ok {
			r.fail(fmt.Errorf("unexpected list of receivers"))
			return nil
		}
		state, next, _ := strings.Cut(strings.TrimPrefix(after, " "), ",")
		peers = append(peers, Peer{ApplicationName: name, State: state})
		rest = next
	}
	return peers
}

func (r *reader) limits() []uint64 {
	fields := strings.Fields(r.text())
	if len(fields) != len(limitNames) {
		r.fail(fmt.Errorf("%d settings where %d were expected", len(fields), len(limitNames)))
		return nil
	}
	limits := make([]uint64, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 64)
		r.fail(err)
		limits[i] = n
	}
	return limits
}

// unquote reads a literal as quote_literal writes it. A name with a backslash comes as E'...', with two backslashes for one.
func unquote(s string) (value, rest string, ok bool) {
	escaped := strings.HasPrefix(s, "E")
	s = strings.TrimPrefix(s, "E")
	if !strings.HasPrefix(s, "'") {
		return "", "", false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'', escaped && s[i] == '\\' && i+1 < len(s):
			i++
		case s[i] == '\'':
			return b.String(), s[i+1:], true
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// literal writes a value as SQL text; standard_conforming_strings is on in all our connections.
func literal(value string) string { return "'" + strings.ReplaceAll(value, "'", "''") + "'" }
