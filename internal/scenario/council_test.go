package scenario

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
)

// promoter is failover_command: failed node, old primary, host to promote. It writes down when it begins and ends, and takes its time
// before both where slowFile says how many seconds. The new primary stops waiting for a standby.
const promoter = `#!/bin/sh
exec 2>>` + commandLog + `
pause() { [ ! -e ` + slowFile + ` ] || sleep "$(cat ` + slowFile + `)"; }
echo "begin $*" >>` + commandLog + `
pause
[ "$1" != "$2" ] || psql -X -q -w -h "$3" -U postgres -d postgres -c "SELECT pg_promote()" \
	-c "ALTER SYSTEM RESET synchronous_standby_names" -c "SELECT pg_reload_conf()" >/dev/null
pause
echo "end $*" >>` + commandLog + `
`

const slowFile = "/tmp/slow"

// What SHOW pool_nodes shows of the three servers.
const (
	allUp       = "0 up primary, 1 up standby, 2 up standby"
	standbyDown = "0 up primary, 1 up standby, 2 down standby"
	primaryLost = "0 down standby, 1 up primary, 2 up standby"
)

// council is three pgpools that decide together, and three servers on hosts of their own.
type council struct {
	*site.Cluster
	t      *testing.T
	leader int // when it began
}

func newCouncil(t *testing.T, settings site.Settings) *council {
	t.Helper()
	if os.Getenv("GOPGPOOL_WD") == "" {
		t.Skip("left to make wd and make scenario")
	}
	all := site.Settings{"failover_command": etcDir + "/failover.sh %d %P %H"}.With(settings)
	c := &council{t: t, Cluster: site.NewCluster(t, site.ClusterOptions{Servers: 3, Settings: all})}
	for _, p := range c.Pgpools {
		c.Keep(p.Host, commandLog, 20)
		site.Must(t, p.Host.WriteFile("root", etcDir+"/failover.sh", promoter, 0o755))
	}
	c.Servers[0].SQL(t, "CREATE TABLE written (n int)")
	c.Start(t)
	c.AwaitPoolNodes(t, 20*time.Second, allUp)
	c.leader = c.AwaitHolder(t, 20*time.Second)
	return c
}

// others are the two that do not lead when it begins.
func (c *council) others() []int { return []int{(c.leader + 1) % 3, (c.leader + 2) % 3} }

// slow has failover_command pause for so many seconds.
func (c *council) slow(seconds string) {
	c.t.Helper()
	for _, p := range c.Pgpools {
		site.Must(c.t, p.Host.WriteFile("root", slowFile, seconds, 0o644))
	}
}

// called is what failover_command has written down on the host of a pgpool.
func (c *council) called(id int) string {
	c.t.Helper()
	text, err := c.Pgpools[id].Host.ReadFile(commandLog)
	if err != nil {
		return "" // not called yet
	}
	return strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), ", ")
}

// awaitCalled waits until the leader's failover_command has written something.
func (c *council) awaitCalled(text string) {
	c.t.Helper()
	c.Await(c.t, "failover_command: "+text, 40*time.Second, func() (string, bool) {
		called := c.called(c.leader)
		return called, strings.Contains(called, text)
	})
}

// expectPromoted expects that db1 was promoted, once, and that db2 was not.
func (c *council) expectPromoted() {
	c.t.Helper()
	const timeline = "('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
	for id, want := range map[int]string{1: "2", 2: "standby"} {
		got := c.Servers[id].SQL(c.t, "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE "+timeline+"::text END")
		if got != want {
			c.t.Errorf("timeline of db%d: %s, want %s", id, got, want)
		}
	}
	for id := range c.Pgpools {
		c.t.Logf("calls on %s: %s", c.Pgpools[id].Host.Name, c.called(id))
	}
}

// awaitWrite waits until a client writes through the virtual address.
func (c *council) awaitWrite(limit time.Duration) {
	c.t.Helper()
	c.Await(c.t, "a client writes", limit, func() (string, bool) {
		_, said := c.Psql(c.t, c.Client, c.VIP.String(), "INSERT INTO written VALUES (0)")
		return said, said == ""
	})
}

// TestLeaderKilledDuringFailover: the leader is killed when failover_command has begun, or when it has just ended.
func TestLeaderKilledDuringFailover(t *testing.T) {
	for _, when := range []string{"begin", "end"} {
		t.Run(when, func(t *testing.T) {
			c := newCouncil(t, nil)
			if when == "begin" {
				c.slow("1.5")
			}
			c.Servers[0].Stop(t, "immediate")
			c.awaitCalled(when)
			c.Pgpools[c.leader].Kill(t)
			c.AwaitPoolNodes(t, 20*time.Second, primaryLost, c.others()...)
			c.awaitWrite(10 * time.Second)
			c.Start(t, c.leader)
			c.AwaitPoolNodes(t, 15*time.Second, primaryLost)
			c.expectPromoted()
		})
	}
}

// TestLeaderFrozenDuringFailover: the leader stands still while failover_command runs, and goes on when another one has finished.
func TestLeaderFrozenDuringFailover(t *testing.T) {
	c := newCouncil(t, nil)
	c.slow("1.5")
	c.Servers[0].Stop(t, "immediate")
	c.awaitCalled("begin")
	c.Pgpools[c.leader].Freeze(t)
	c.AwaitPoolNodes(t, 20*time.Second, primaryLost, c.others()...)
	c.awaitCalled("end")
	c.Pgpools[c.leader].Thaw(t)
	c.AwaitPoolNodes(t, 10*time.Second, primaryLost)
	c.AwaitHolder(t, 10*time.Second, c.others()...)
	c.awaitWrite(10 * time.Second)
	c.expectPromoted()
}

// TestIsolatedWithPrimary: the leader and the primary are cut off together, and clients write there. With synchronous replication the new
// primary has all that they were told is written.
func TestIsolatedWithPrimary(t *testing.T) {
	c := newCouncil(t, nil)
	for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'db1'", "SELECT pg_reload_conf()"} {
		c.Servers[0].SQL(t, sql)
	}
	c.Await(t, "db1 is waited for", 10*time.Second, func() (string, bool) {
		got := c.Servers[0].SQL(t, "SELECT string_agg(application_name, ' ') FROM pg_stat_replication WHERE sync_state = 'sync'")
		return got, got == "db1"
	})
	alone := c.Pgpools[c.leader].Host
	w := c.writers(alone, 6)
	c.Await(t, "they write", 20*time.Second, func() (string, bool) { n := w.count(); return fmt.Sprint(n), n > 100 })
	site.Must(t, c.Partition([]*hosts.Host{alone, c.Servers[0].Host}))
	c.AwaitPoolNodes(t, 40*time.Second, primaryLost, c.others()...)
	c.awaitWrite(10 * time.Second)
	site.Must(t, c.World.Heal())
	c.AwaitPoolNodes(t, 30*time.Second, primaryLost)
	healed := w.count()
	c.Await(t, "they write again", 20*time.Second, func() (string, bool) { n := w.count(); return fmt.Sprint(n), n > healed })
	w.end()
	there := strings.Split(c.Servers[1].SQL(t, "SELECT n FROM written"), "\n")
	for _, n := range w.acknowledged {
		if !slices.Contains(there, fmt.Sprint(n)) {
			t.Errorf("row %d was acknowledged and is not on the new primary", n)
		}
	}
	c.expectPromoted()
}

// writers are sessions of a host to its own pgpool; each writes a row and ends.
type writers struct {
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu           sync.Mutex // guards what follows
	last         int
	acknowledged []int
}

func (c *council) writers(at *hosts.Host, n int) *writers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{stop: cancel}
	c.t.Cleanup(w.end)
	for range n {
		w.ended.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				w.write(func(n int) error { return c.insert(ctx, at, n) })
				<-tick.C
			}
		})
	}
	return w
}

func (w *writers) write(insert func(n int) error) {
	w.mu.Lock()
	w.last++
	n := w.last
	w.mu.Unlock()
	if insert(n) != nil {
		return // what became of it is not known
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acknowledged = append(w.acknowledged, n)
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

func (w *writers) end() {
	w.stop()
	w.ended.Wait()
}

func (c *council) insert(ctx context.Context, at *hosts.Host, n int) error {
	conn, err := c.dial(ctx, at, at)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "INSERT INTO written VALUES ($1)", n)
	return err
}

// dial opens a session from a host to a pgpool.
func (c *council) dial(ctx context.Context, from, to *hosts.Host) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable connect_timeout=10 "+
		"default_query_exec_mode=simple_protocol", to.Address(), site.PgpoolPort))
	if err != nil {
		return nil, err
	}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return from.Dial(ctx, network, address)
	}
	return pgx.ConnectConfig(ctx, config)
}

// TestDecisionsOutliveAll: what was decided about a server is known after all pgpools were stopped, unless they are told to forget it.
func TestDecisionsOutliveAll(t *testing.T) {
	c := newCouncil(t, nil)
	c.order("detach_node -n 2", standbyDown)
	for _, start := range []struct{ option, want string }{{"-n", standbyDown}, {"-D", allUp}} {
		for _, p := range c.Pgpools {
			p.Stop(t)
			p.Argv = append(slices.DeleteFunc(slices.Clone(p.Argv), func(a string) bool { return a == "-D" }), start.option)
		}
		c.Start(t)
		c.AwaitPoolNodes(t, 15*time.Second, start.want)
	}
}

// TestOrdersToStandby: an operator asks a pgpool that does not lead. All show the outcome within a second.
func TestOrdersToStandby(t *testing.T) {
	c := newCouncil(t, nil)
	for range 2 {
		c.order("detach_node -n 2", standbyDown)
		c.order("attach_node -n 2", allUp)
	}
	c.order("promote_node -s -n 1", primaryLost)
	c.expectPromoted()
}

// order has a pgpool that does not lead carry out a pcp command, and waits until all show its outcome.
func (c *council) order(command, want string) {
	c.t.Helper()
	program, arguments, _ := strings.Cut(command, " ")
	if said := c.PCP(c.t, c.Pgpools[c.others()[0]].Host.Name, program, arguments); said != "pcp_"+program+" -- Command Successful" {
		c.t.Fatalf("pcp_%s: %s", command, said)
	}
	limit := time.Second
	if program == "promote_node" {
		limit = 5 * time.Second // it does not wait for failover_command
	}
	c.AwaitPoolNodes(c.t, limit, want)
}

// TestOneVoteIsEnough: with failover_require_consensus off the primary is lost when one pgpool cannot reach it.
func TestOneVoteIsEnough(t *testing.T) {
	c := newCouncil(t, site.Settings{"failover_require_consensus": "off"})
	alone := c.Pgpools[c.others()[0]].Host
	site.Must(t, alone.Block(c.Servers[0].Host))
	c.AwaitPoolNodes(t, 30*time.Second, primaryLost)
	c.awaitWrite(10 * time.Second)
	c.expectPromoted()
	site.Must(t, alone.Unblock(c.Servers[0].Host))
	c.AwaitPoolNodes(t, 10*time.Second, primaryLost)
}

// TestFailoverWithoutQuorum: with failover_when_quorum_exists off the last pgpool fails over alone. The others follow when they are back,
// also if the old primary was started meanwhile.
func TestFailoverWithoutQuorum(t *testing.T) {
	c := newCouncil(t, site.Settings{"failover_when_quorum_exists": "off"})
	last := c.others()[0]
	gone := []int{c.leader, c.others()[1]}
	for _, id := range gone {
		c.Pgpools[id].Kill(t)
	}
	c.Servers[0].Stop(t, "immediate")
	c.AwaitPoolNodes(t, 30*time.Second, primaryLost, last)
	if _, said := c.Psql(t, c.Client, c.Pgpools[last].Host.Name, "INSERT INTO written VALUES (0)"); said != "" {
		t.Errorf("a write to the last pgpool: %s", said)
	}
	c.Servers[0].Start(t)
	c.Start(t, gone...)
	c.AwaitPoolNodes(t, 30*time.Second, primaryLost)
	c.awaitWrite(10 * time.Second)
	if got := c.Servers[1].SQL(t, "SELECT count(*) FROM written"); got != "2" {
		t.Errorf("%s of 2 rows are on the new primary", got)
	}
	c.expectPromoted()
}
