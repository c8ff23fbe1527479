package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// The clients' role, which owns their databases. It shows its password to whoever it logs in to.
const (
	role     = "app"
	password = "secret"
	// ports are taken by each cluster with its pgpools when they are not free ones.
	ports = 20
)

// stage is the servers and pgpools of a run: a cluster for each number of nodes, a pgpool for each setting.
type stage struct {
	opts     options
	clusters map[int]*pgcluster.Cluster
	pgpools  map[string]*pgcluster.Pgpool

	mu    sync.Mutex
	count int // of databases made
}

// place is where clients of a setting connect.
type place struct {
	host    string
	port    int
	primary *pgcluster.Node
}

// build starts what the settings need. The caller closes the stage, also after an error.
func (s *stage) build(ctx context.Context, list []setting) error {
	s.clusters, s.pgpools = map[int]*pgcluster.Cluster{}, map[string]*pgcluster.Pgpool{}
	for _, one := range list {
		if one.nodes == 0 {
			continue
		}
		cluster, err := s.cluster(ctx, one.nodes)
		if err != nil {
			return err
		}
		if s.pgpools[one.name], err = cluster.StartPgpool(ctx, s.pgpool(one)); err != nil {
			return err
		}
	}
	_, err := s.anyCluster(ctx)
	return err
}

func (s *stage) close() error {
	var errs []error
	for _, c := range s.clusters {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

func (s *stage) cluster(ctx context.Context, nodes int) (*pgcluster.Cluster, error) {
	if c := s.clusters[nodes]; c != nil {
		return c, nil
	}
	config := map[string]string{
		"max_connections":           "300",
		"max_prepared_transactions": "10",
		"autovacuum":                "off",
	}
	if nodes > 1 { // a read on any node sees what was written before
		config["synchronous_standby_names"] = fmt.Sprintf("%d (*)", nodes-1)
		config["synchronous_commit"] = "remote_apply"
	}
	options := pgcluster.Options{Nodes: nodes, HBA: "host all " + role + " all scram-sha-256\n", Config: config}
	if s.opts.basePort != 0 {
		options.BasePort = s.opts.basePort + ports*len(s.clusters)
	}
	c, err := pgcluster.Start(ctx, options)
	if err != nil {
		return nil, err
	}
	s.clusters[nodes] = c
	return c, c.Nodes[0].Exec(ctx, "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'")
}

func (s *stage) pgpool(one setting) pgcluster.PgpoolOptions {
	conf := map[string]string{
		"enable_pool_hba":              "on",
		"statement_level_load_balance": "on",
		"num_init_children":            "100",
	}
	maps.Copy(conf, one.conf)
	maps.Copy(conf, s.opts.conf)
	options := pgcluster.PgpoolOptions{
		Binary: s.opts.pgpool, Conf: conf,
		HBA:    "host all " + role + " all scram-sha-256\nlocal all all trust\nhost all all all trust\n",
		Passwd: pgcluster.PasswdLine(role, password),
	}
	if s.opts.basePort != 0 {
		options.Port = s.opts.basePort + 100 + 2*len(s.pgpools)
		options.PCPPort = options.Port + 1
	}
	return options
}

// anyCluster is where the direct setting runs: on the largest cluster there is.
func (s *stage) anyCluster(ctx context.Context) (*pgcluster.Cluster, error) {
	largest := 0
	for nodes := range s.clusters {
		largest = max(largest, nodes)
	}
	if largest == 0 {
		return s.cluster(ctx, 1)
	}
	return s.clusters[largest], nil
}

func (s *stage) place(ctx context.Context, one setting) (place, error) {
	if p := s.pgpools[one.name]; p != nil {
		return place{p.Host, p.Port, s.clusters[one.nodes].Nodes[0]}, nil
	}
	c, err := s.anyCluster(ctx)
	if err != nil {
		return place{}, err
	}
	return place{c.Nodes[0].Host, c.Nodes[0].Port, c.Nodes[0]}, nil
}

// database makes an empty database at a place.
func (s *stage) database(ctx context.Context, at place) (string, error) {
	s.mu.Lock()
	s.count++
	name := fmt.Sprintf("matrix%d", s.count)
	s.mu.Unlock()
	return name, at.primary.Exec(ctx, "CREATE DATABASE "+name+" OWNER "+role+" TEMPLATE template0")
}

// environment is how a client is told where to connect. PG variables of this process are none of its business.
func (p place) environment(database string) []string {
	env := []string{
		"PGHOST=" + p.host, "PGPORT=" + strconv.Itoa(p.port), "PGUSER=" + role, "PGPASSWORD=" + password,
		"PGDATABASE=" + database, "PGSSLMODE=disable", "PGCONNECT_TIMEOUT=20",
		"PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8",
	}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PG") && !strings.HasPrefix(entry, "LC_") {
			env = append(env, entry)
		}
	}
	return env
}

// connect opens a session of the clients' role.
func (p place) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable", p.host, p.port, role, password, database))
}

// keepLogs copies pgpool's logs, named after the settings.
func (s *stage) keepLogs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, p := range s.pgpools {
		text, err := p.LogText()
		if err != nil {
			return err
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".log")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
