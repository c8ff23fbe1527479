package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"gopgpool/internal/pgcluster"
)

// configuration is one way to stand before the suite: which suite, how many servers, and how pgpool is told to work.
type configuration struct {
	name    string
	title   string
	suite   suite
	nodes   int
	servers map[string]string // settings of the servers
	pgpool  map[string]string // parameters of pgpool; nil: a second direct run takes its place
}

// common are the server settings the suites expect beyond the defaults: prepared transactions are allowed, and a table scan begins
// at the table's first page, as it does with the default size of the buffers.
func common() map[string]string {
	return map[string]string{
		"shared_buffers": "128MB", "max_prepared_transactions": "10", "max_connections": "200",
	}
}

func with(base, more map[string]string) map[string]string {
	merged := maps.Clone(base)
	maps.Copy(merged, more)
	return merged
}

func configurations() []configuration {
	many := map[string]string{"num_init_children": "60", "max_pool": "1"}
	synchronous := map[string]string{
		"synchronous_standby_names": "2 (server1, server2)", "synchronous_commit": "remote_apply",
		"max_standby_streaming_delay": "-1",
	}
	return []configuration{
		{name: "direct", title: "a second direct run", suite: regression, nodes: 1, servers: common()},
		{
			name: "session", title: "session mode, one server", suite: regression, nodes: 1,
			servers: common(), pgpool: many,
		},
		{
			name: "nodes", title: "session mode, three servers", suite: regression, nodes: 3,
			servers: with(common(), synchronous),
			pgpool:  with(many, map[string]string{"statement_level_load_balance": "on"}),
		},
		{
			name: "transaction", title: "transaction mode, one server", suite: regression, nodes: 1,
			servers: common(), pgpool: with(many, map[string]string{"pool_mode": "transaction", "default_pool_size": "50"}),
		},
		{
			name: "isolation", title: "isolation suite, session mode, one server", suite: isolation, nodes: 1,
			servers: common(), pgpool: many,
		},
	}
}

// run makes the direct run and the one through pgpool, each on servers of its own, and compares.
func (c configuration) run(ctx context.Context, o options) (outcome, error) {
	direct, err := c.direct(ctx, o)
	if err != nil {
		return outcome{}, fmt.Errorf("directly: %w", err)
	}
	var pooled printed
	if c.pgpool == nil {
		pooled, err = c.straight(ctx, o)
	} else {
		pooled, err = c.pooled(ctx, o)
	}
	if err != nil {
		return outcome{}, err
	}
	return compare(c, direct, pooled, o)
}

// direct is what the suite prints without pgpool.
func (c configuration) direct(ctx context.Context, o options) (printed, error) {
	kept := ""
	if o.reference != "" {
		kept = filepath.Join(o.reference, c.name)
		if _, err := os.Stat(kept); err == nil {
			return load(kept)
		}
	}
	got, err := c.straight(ctx, o)
	if err != nil || kept == "" {
		return got, err
	}
	return got, got.save(kept)
}

func (c configuration) straight(ctx context.Context, o options) (got printed, err error) {
	err = c.stage(ctx, o, func(cluster *pgcluster.Cluster) error {
		primary := cluster.Nodes[0]
		got, err = c.suite.run(ctx, cluster, o, target{primary.Host, primary.Port})
		return err
	})
	return got, err
}

// pooled is what the suite prints through pgpool.
func (c configuration) pooled(ctx context.Context, o options) (printed, error) {
	var got printed
	err := c.stage(ctx, o, func(cluster *pgcluster.Cluster) error {
		pool, err := c.startPool(ctx, cluster, o)
		if err != nil {
			return err
		}
		got, err = c.suite.run(ctx, cluster, o, target{pool.Host, pool.Port})
		if o.keep != "" {
			err = errors.Join(err, got.save(filepath.Join(o.keep, c.name)), copyFile(pool.Log, filepath.Join(o.keep, c.name, "pgpool.log")),
				copyFile(cluster.Nodes[0].Log, filepath.Join(o.keep, c.name, "server0.log")))
		}
		return err
	})
	return got, err
}

// stage gives work a cluster and closes it.
func (c configuration) stage(ctx context.Context, o options, work func(*pgcluster.Cluster) error) (err error) {
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{Nodes: c.nodes, BasePort: o.basePort, Config: c.servers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	return work(cluster)
}

func (c configuration) startPool(ctx context.Context, cluster *pgcluster.Cluster, o options) (*pgcluster.Pgpool, error) {
	options := pgcluster.PgpoolOptions{Binary: o.pgpool, Conf: c.pgpool}
	if o.basePort != 0 {
		options.Port, options.PCPPort = o.basePort+c.nodes, o.basePort+c.nodes+1
	}
	if o.conf != "" {
		text, err := os.ReadFile(o.conf)
		if err != nil {
			return nil, err
		}
		options.ConfText = string(text)
	}
	return cluster.StartPgpool(ctx, options)
}
