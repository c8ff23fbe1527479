package leak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// One primary and one standby: state has to follow a session to both.
var shared = pgcluster.NewShared(pgcluster.Options{Nodes: 2, Config: map[string]string{
	"max_connections": "200", "wal_receiver_status_interval": "1s", "hot_standby_feedback": "on",
}})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// The roles that log in. The second has a setting of its own, the third is a superuser.
const (
	plainRole = "leak_plain"
	tunedRole = "leak_tuned"
	superRole = "leak_super"
	// assumed can be SET ROLE to.
	assumed = "leak_assumed"
)

// furniture is what the sessions use. Sequences, channels and tables are shared by all of them.
func furniture() []string {
	return []string{
		"CREATE ROLE " + assumed,
		"CREATE ROLE " + plainRole + " LOGIN IN ROLE " + assumed,
		"CREATE ROLE " + tunedRole + " LOGIN IN ROLE " + assumed,
		"ALTER ROLE " + tunedRole + " SET statement_timeout = '9min'",
		"CREATE ROLE " + superRole + " LOGIN SUPERUSER",
		"GRANT ALL ON SCHEMA public TO PUBLIC",
		"CREATE SCHEMA leak_there",
		"GRANT ALL ON SCHEMA leak_there TO PUBLIC",
		"CREATE TABLE public.leak_place AS SELECT 'here'::text AS place",
		"CREATE TABLE leak_there.leak_place AS SELECT 'there'::text AS place",
		"CREATE TABLE public.leak_rows (id serial, session int)",
		"CREATE SEQUENCE public.leak_seq CACHE 1",
		"CREATE SEQUENCE public.leak_untouched",
		"GRANT ALL ON ALL TABLES IN SCHEMA public, leak_there TO PUBLIC",
		"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC",
		`CREATE FUNCTION public.leak_do(what text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$BEGIN EXECUTE what; END$$`,
		`CREATE FUNCTION public.leak_set(name text, value text) RETURNS text LANGUAGE sql VOLATILE AS $$SELECT set_config(name, value, false)$$`,
		`CREATE FUNCTION public.leak_lock(k bigint) RETURNS void LANGUAGE sql VOLATILE AS $$SELECT pg_advisory_lock(k)$$`,
		`CREATE FUNCTION public.leak_next() RETURNS bigint LANGUAGE sql VOLATILE AS $$SELECT nextval('public.leak_seq')$$`,
		`CREATE FUNCTION public.leak_seed(s float8) RETURNS void LANGUAGE sql VOLATILE AS $$SELECT setseed(s)$$`,
		`CREATE PROCEDURE public.leak_call(what text) LANGUAGE plpgsql AS $$BEGIN EXECUTE what; END$$`,
	}
}

// stage is the servers, furnished, and one pgpool.
type stage struct {
	*pgcluster.Cluster
	pool *pgcluster.Pgpool
	// fresh is what a session of each role sees that connects to each node directly: role, recovering, setting.
	fresh map[origin]map[string]string
	// seeded are the values of random() that follow the seeds the sessions use, as rounded makes them.
	seeded map[string]bool
	mode   string
}

// origin is what the settings of a fresh connection depend on.
type origin struct {
	role    string
	standby bool
}

// places is how many sessions run at once, and poolSize how many server connections they share in transaction mode.
const (
	places   = 40
	poolSize = 20
)

// newStage is that of the storm: statements are balanced one by one.
func newStage(t *testing.T, mode string) *stage {
	t.Helper()
	return newStageOf(t, mode, map[string]string{"default_pool_size": strconv.Itoa(poolSize), "statement_level_load_balance": "on"})
}

// newStageOf starts a pgpool with these parameters; those of pooling are left out in session mode.
func newStageOf(t *testing.T, mode string, parameters map[string]string) *stage {
	t.Helper()
	cluster := shared.Cluster(t)
	furnish(t, cluster)
	s := &stage{Cluster: cluster, mode: mode, fresh: map[origin]map[string]string{}, seeded: map[string]bool{}}
	conf := map[string]string{"num_init_children": strconv.Itoa(places + 10), "max_pool": "3", "log_min_messages": "error"}
	maps.Copy(conf, parameters)
	if conf["pool_mode"] = mode; mode == "session" {
		delete(conf, "default_pool_size")
	}
	s.pool = shared.Pgpool(t, pgcluster.PgpoolOptions{Conf: conf, Env: []string{"GORACE=atexit_sleep_ms=0"}})
	for _, role := range []string{plainRole, tunedRole, superRole} {
		for _, node := range cluster.Nodes {
			s.learn(t, role, node)
		}
	}
	s.learnSeeds(t)
	return s
}

// furnish does so once for all tests.
func furnish(t *testing.T, cluster *pgcluster.Cluster) {
	t.Helper()
	primary := cluster.Nodes[0]
	there, err := primary.Value(t.Context(), "SELECT count(*)::text FROM pg_roles WHERE rolname = $1", assumed)
	if err != nil {
		t.Fatal(err)
	}
	if there == "0" {
		for _, sql := range furniture() {
			if err := primary.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
	}
	if err := cluster.WaitReplayed(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
}

// learn asks a fresh connection for its settings.
func (s *stage) learn(t *testing.T, role string, node *pgcluster.Node) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), node.ConnString("user="+role))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	seen, err := see(t.Context(), conn, sees)
	if err != nil {
		t.Fatal(err)
	}
	if strange := seen.strange(role); len(strange) > 0 {
		t.Fatalf("a fresh connection sees %q: the test is wrong", strange)
	}
	s.fresh[origin{role, seen.standby}] = seen.settings
}

// seeds are the arguments of setseed the sessions use, and seededValues how many values of each are known: more than are drawn.
var seeds = []string{"0.25", "-0.5", "0.75"}

const seededValues = 200

func (s *stage) learnSeeds(t *testing.T) {
	t.Helper()
	for _, seed := range seeds {
		text, err := s.Nodes[0].Value(t.Context(), fmt.Sprintf(
			"WITH s AS MATERIALIZED (SELECT setseed(%s)) SELECT string_agg(random()::text, ' ') FROM s, generate_series(1, %d)", seed, seededValues))
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range strings.Fields(text) {
			s.seeded[rounded(value)] = true
		}
	}
	if len(s.seeded) != len(seeds)*seededValues {
		t.Fatalf("%d values are known", len(s.seeded))
	}
}

// rounded is a number with as many digits as every extra_float_digits shows.
func rounded(value string) string {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	return strconv.FormatFloat(f, 'f', 12, 64)
}

func (s *stage) isSeeded(value string) bool { return s.seeded[rounded(value)] }

// footprint is what a process holds. Memory in bytes.
type footprint struct {
	memory      int64
	threads     int
	descriptors int
}

func (f footprint) String() string {
	return fmt.Sprintf("%.1f MB, %d threads, %d descriptors", float64(f.memory)/(1<<20), f.threads, f.descriptors)
}

func footprintOf(pid int) (footprint, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return footprint{}, err
	}
	memory, memoryErr := statusNumber(string(text), "VmRSS:")
	threads, threadsErr := statusNumber(string(text), "Threads:")
	open, openErr := os.ReadDir(filepath.Join(dir, "fd"))
	return footprint{memory: memory << 10, threads: int(threads), descriptors: len(open)}, errors.Join(memoryErr, threadsErr, openErr)
}

// statusNumber is the number in a line of /proc/PID/status.
func statusNumber(text, label string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("no line %q", label)
}
