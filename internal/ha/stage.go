package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gopgpool/internal/pgcluster"
)

// stage is the servers, the pgpool in front of them, and what failover_command needs.
type stage struct {
	cluster *pgcluster.Cluster
	pool    *pgcluster.Pgpool
	opts    options
	rows    census
	how     staging
	notes   []string // what had to be done otherwise than wanted
	harms   []harm   // in order, those of repairs too
}

// Settings of a stage beyond the common ones.
type staging struct {
	Synchronous bool              // promotion ends the wait for a standby
	Unaided     bool              // pgpool promotes by itself (auto_failover)
	Conf        map[string]string // of pgpool
	Servers     map[string]string // of the servers
	Password    string            // of the servers' superuser; empty: they ask for none
	Slots       bool              // standbys use replication slots
	InitdbArgs  []string
}

// promotion is failover_command's script: failed node, old primary, directory, host and port of the node to promote. It promotes when the
// primary failed, or when none is known.
const promotion = `#!/bin/sh
[ "$1" = "$2" ] || [ "$2" = -1 ] || exit 0
[ -n "$3" ] && %[1]s/pg_ctl promote -w -D "$3"
`

// unhinge has the new primary stop waiting for a standby: it is the one that was named.
const unhinge = `%[1]s/psql -X -q -h "$4" -p "$5" -U postgres -d postgres \
	-c "ALTER SYSTEM RESET synchronous_standby_names" -c "SELECT pg_reload_conf()" >/dev/null
`

// startStage builds the servers, fills them, and starts pgpool. The caller closes the stage.
func startStage(ctx context.Context, o options, how staging) (*stage, error) {
	settings := logSettings()
	maps.Copy(settings, map[string]string{"max_connections": "400", "restart_after_crash": "on"})
	if how.Unaided { // whoever starts a server, its log is where it was
		settings["logging_collector"] = "on"
	}
	maps.Copy(settings, how.Servers)
	options := pgcluster.Options{Config: settings, InitdbArgs: how.InitdbArgs, Slots: how.Slots}
	if how.Password != "" {
		options.Password, options.Auth = how.Password, "scram-sha-256"
	}
	cluster, err := pgcluster.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	s := &stage{cluster: cluster, opts: o, rows: newCensus(), how: how}
	if err := s.furnish(ctx, how); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// unaided reports whether pgpool promotes by itself.
func (s *stage) unaided() bool { return s.how.Unaided }

func (s *stage) close() error { return s.cluster.Close() }

func (s *stage) furnish(ctx context.Context, how staging) error {
	script := fmt.Sprintf(promotion, s.cluster.BinDir)
	if how.Synchronous {
		script += fmt.Sprintf(unhinge, s.cluster.BinDir)
	}
	err := errors.Join(
		s.cluster.WriteFile("promote", script, 0o755),
		os.WriteFile(s.passFile(), []byte("*:*:postgres:postgres\n"), 0o600),
	)
	if err != nil {
		return err
	}
	first := s.cluster.Nodes[0]
	for _, sql := range []string{
		"CREATE TABLE ha_rows (client int, seq int)", // no key: a row written twice is to be found twice
		"CREATE TABLE ha_small (id int PRIMARY KEY, v text)",
		"INSERT INTO ha_small VALUES (1, 'one')",
	} {
		if err := first.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := s.cluster.WaitReplayed(ctx, first); err != nil {
		return err
	}
	return s.startPool(ctx)
}

func (s *stage) passFile() string { return filepath.Join(s.cluster.Dir, "pcppass") }

// afresh has pgpool start without what it knew of the servers: they were built anew.
const afresh = "-D"

// startPool starts the pgpool under test.
func (s *stage) startPool(ctx context.Context) error {
	conf := map[string]string{
		"num_init_children": "320", "max_pool": "1", // every client of the largest crew, old and new, at once
		"health_check_period": "1", "health_check_timeout": "2", "health_check_max_retries": "0",
		"connect_timeout": "2000", "failover_on_backend_error": "on",
		"sr_check_period": "1", "search_primary_node_timeout": "30",
		"failover_command": filepath.Join(s.cluster.Dir, "promote") + " %d %P %R %H %r",
	}
	options := pgcluster.PgpoolOptions{Binary: s.opts.pgpool, Conf: conf, Args: []string{afresh}}
	if s.opts.peer {
		dir := filepath.Join(s.cluster.Dir, "peer")
		run := filepath.Join(dir, "run")
		options.Dir = dir
		options.ConfText = fmt.Sprintf("socket_dir = '%[1]s'\nwd_ipc_socket_dir = '%[1]s'\nlogdir = '%[2]s'\n", run, filepath.Join(dir, "log"))
		conf["num_init_children"] = strconv.Itoa(2*s.opts.clients + 2*s.opts.idlers + 10)
	} else {
		conf["log_format"] = "json"
	}
	if s.how.Unaided {
		maps.Copy(conf, map[string]string{
			"failover_command": "", "auto_failover": "on", "agent_bin_directory": s.cluster.BinDir,
			"sync_standby_keepalive_time": "1", // else it takes a quarter of a minute until a standby may be promoted again
			"replication_user":            "postgres", "replication_password": s.how.Password,
		})
	}
	maps.Copy(conf, s.how.Conf)
	var err error
	s.pool, err = s.cluster.StartPgpool(ctx, options)
	if err != nil {
		return err
	}
	return s.awaitNodes(ctx, "all nodes are up", func(n []poolNode) bool { return healthy(n, 0) })
}

// dsn is where the clients connect.
func (s *stage) dsn() string { return s.pool.ConnString() }

// poolNode is a row of SHOW pool_nodes.
type poolNode struct {
	Status string `json:"status"`
	Role   string `json:"role"`
}

// nodes asks pgpool what it thinks of the nodes.
func (s *stage) nodes(ctx context.Context) ([]poolNode, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := client{role: idler, id: 999, dsn: s.dsn()}
	rows, err := c.table(ctx, "SHOW pool_nodes")
	if err != nil {
		return nil, err
	}
	var all []poolNode
	for _, row := range rows {
		all = append(all, poolNode{Status: row["status"], Role: row["role"]})
	}
	return all, nil
}

// live tells whether a node may be used.
func (n poolNode) live() bool { return n.Status == "up" || n.Status == "waiting" }

// healthy tells whether all nodes are up and primary is the primary.
func healthy(all []poolNode, primary int) bool {
	for i, n := range all {
		if !n.live() || (n.Role == "primary") != (i == primary) {
			return false
		}
	}
	return len(all) > 0
}

// awaitNodes waits until pgpool shows what is wanted.
func (s *stage) awaitNodes(ctx context.Context, what string, want func([]poolNode) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	var last []poolNode
	var lastErr error
	err := pgcluster.Poll(ctx, what, func() (bool, error) {
		nodes, err := s.nodes(ctx)
		if ctx.Err() == nil {
			last, lastErr = nodes, err
		}
		return err == nil && want(nodes), nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w; last seen: %v", err, last), lastErr)
	}
	return nil
}

// ports of the servers, index = node.
func (s *stage) ports() []int {
	var ports []int
	for _, n := range s.cluster.Nodes {
		ports = append(ports, n.Port)
	}
	return ports
}

// primary is the node that accepts writes, as the servers themselves say.
func (s *stage) primary(ctx context.Context) (*pgcluster.Node, error) {
	if n := s.cluster.Primary(ctx); n != nil {
		return n, nil
	}
	return nil, errors.New("no server is a primary")
}

// successor is the node that failover_command is told to promote when some are lost: the lowest live one. Nil if there is none.
func (s *stage) successor(lost ...*pgcluster.Node) *pgcluster.Node {
	for _, n := range s.cluster.Nodes {
		gone := false
		for _, l := range lost {
			gone = gone || l == n
		}
		if !gone && n.Running() {
			return n
		}
	}
	return nil
}

// failovers reads pgpool's log.
func (s *stage) failovers() ([]failoverSeen, error) {
	f, err := os.Open(s.pool.Log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	events, err := readPoolLog(f)
	return failovers(events, s.ports()), err
}

// serverLogs reads the logs of all servers.
func (s *stage) serverLogs() ([]serverLog, error) {
	var all []serverLog
	for _, n := range s.cluster.Nodes {
		f, err := os.Open(n.Log)
		if err != nil {
			return nil, err
		}
		log, err := readServerLog(f, n.ID)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		all = append(all, log)
	}
	return all, nil
}

// found counts the rows on a server.
func (s *stage) found(ctx context.Context, on *pgcluster.Node) (map[rowID]int, error) {
	conn, err := on.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT client, seq, count(*) FROM ha_rows GROUP BY client, seq")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[rowID]int{}
	for rows.Next() {
		var id rowID
		var n int
		if err := rows.Scan(&id.Client, &id.Seq, &n); err != nil {
			return nil, err
		}
		all[id] = n
	}
	return all, rows.Err()
}
