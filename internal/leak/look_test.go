package leak

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// sees is everything a session can see of what others may have left on its connection: pairs of a kind and a value. Names that are
// not the clients' (leak...) may be ours: prepared statements in transaction mode.
const sees = `SELECT 'setting ' || name, setting FROM pg_settings
UNION ALL SELECT 'custom', current_setting('leak.mark', true)
UNION ALL SELECT 'prepared', name FROM pg_prepared_statements WHERE from_sql OR name LIKE 'leak%'
UNION ALL SELECT 'advisory lock', objid::text FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
UNION ALL SELECT 'listening', pg_listening_channels()
UNION ALL SELECT 'cursor', name FROM pg_cursors WHERE name <> ''
UNION ALL SELECT 'temporary', relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind IN ('r', 'v', 'S')
UNION ALL SELECT 'user', current_user
UNION ALL SELECT 'session user', session_user
UNION ALL SELECT 'recovering', pg_is_in_recovery()::text
UNION ALL SELECT 'random', random()::text
UNION ALL SELECT 'transaction', pg_current_xact_id_if_assigned()::text WHERE NOT pg_is_in_recovery()`

// seedsMayLeak: DISCARD ALL leaves the state of random() as it is.
const seedsMayLeak = true

// onPrimary is how a client keeps a statement off the standbys.
const onPrimary = "/*NO LOAD BALANCE*/ "

// sight is the answer.
type sight struct {
	settings map[string]string
	others   []string // "kind value"
	user     string
	session  string
	random   string
	standby  bool
}

func see(ctx context.Context, conn *pgconn.PgConn, sql string) (sight, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return sight{}, err
	}
	if len(results) != 1 {
		return sight{}, fmt.Errorf("%d results", len(results))
	}
	s := sight{settings: map[string]string{}}
	for _, row := range results[0].Rows {
		s.add(string(row[0]), string(row[1]))
	}
	return s, nil
}

func (s *sight) add(kind, value string) {
	switch name, isSetting := strings.CutPrefix(kind, "setting "); {
	case isSetting && strings.HasPrefix(name, "plpgsql."): // there once the language has been used on the connection
	case isSetting:
		s.settings[name] = value
	case kind == "user":
		s.user = value
	case kind == "session user":
		s.session = value
	case kind == "recovering":
		s.standby = value == "true"
	case kind == "random":
		s.random = value
	case value != "": // what is not there is NULL; a parameter with a dot is empty after RESET
		s.others = append(s.others, kind+" "+value)
	}
}

// strange is what a session of the role must not see, but for its settings.
func (s sight) strange(role string) []string {
	strange := slices.Clone(s.others)
	if s.user != role || s.session != role {
		strange = append(strange, fmt.Sprintf("current_user %s, session_user %s", s.user, s.session))
	}
	return strange
}

// foreign is all that a session sees at its beginning and should not. given are the parameters of its startup packet.
func (s *stage) foreign(seen sight, role string, given map[string]string) []string {
	found := seen.strange(role)
	want := s.fresh[origin{role, seen.standby}]
	for name, value := range seen.settings {
		expected := want[name]
		if own, ok := given[name]; ok {
			expected = own
		}
		if value != expected {
			found = append(found, fmt.Sprintf("%s = %q, not %q", name, value, expected))
		}
	}
	if len(seen.settings) != len(want) {
		found = append(found, fmt.Sprintf("%d settings, not %d", len(seen.settings), len(want)))
	}
	if s.isSeeded(seen.random) && !seedsMayLeak {
		found = append(found, "random() goes on from another session's setseed()")
	}
	slices.Sort(found)
	return found
}
