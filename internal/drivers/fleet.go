package main

import "path/filepath"

// driver is one row of the matrix: a client program, run in one of its variants.
type driver struct {
	name    string
	argv    []string
	env     []string
	about   string
	version []string // prints the version of what is tested in its first line
}

// fleet is every driver and variant. built is where the script prepare put the clients, source where their sources are.
func fleet(source, built, serverBin string) []driver {
	python := func(script string) []string {
		return []string{"/usr/bin/python3", filepath.Join(source, "python", script)}
	}
	shell := func(script string) []string { return []string{"/bin/sh", filepath.Join(source, "shell", script)} }
	module := func(name string) []string {
		return []string{"/usr/bin/python3", "-c", "import " + name + " as m; print(m.__version__.split(' ')[0])"}
	}
	program := func(name string) []string { return []string{filepath.Join(built, name)} }
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", filepath.Join(built, "jdbc") + ":" + jdbcJar, "Checks"}
	node := []string{"node", filepath.Join(built, "node", "checks.js")}
	with := func(words ...string) []string { return words }
	return []driver{
		{"psql", shell("psql.sh"), nil, "psql with meta-commands, FETCH_COUNT, ON_ERROR_ROLLBACK", with(filepath.Join(serverBin, "psql"), "--version")},
		{"pgbench", shell("pgbench.sh"), nil, "pgbench in its protocols and in pipeline mode", with(filepath.Join(serverBin, "pgbench"), "--version")},
		{"libpq", program("libpq"), nil, "libpq: pipeline mode, single-row mode, asynchronous calls", with(program("libpq")[0], "-version")},
		{"psycopg2", python("with_psycopg2.py"), nil, "psycopg2", module("psycopg2")},
		{"psycopg3", python("with_psycopg3.py"), nil, "psycopg 3, prepares after five executions", module("psycopg")},
		{"psycopg3-prepare", python("with_psycopg3.py"), with("PREPARE_THRESHOLD=0"), "psycopg 3, prepare_threshold=0", nil},
		{"psycopg3-unprepared", python("with_psycopg3.py"), with("PREPARE_THRESHOLD=none"), "psycopg 3, prepare_threshold=None", nil},
		{"asyncpg", python("with_asyncpg.py"), nil, "asyncpg with its statement cache", module("asyncpg")},
		{"asyncpg-nocache", python("with_asyncpg.py"), with("STATEMENT_CACHE_SIZE=0"), "asyncpg, statement_cache_size=0", nil},
		{"jdbc", java, nil, "JDBC", append(java[:len(java):len(java)], "-version")},
		{"jdbc-prepare", java, with("URL_OPTIONS=prepareThreshold=1"), "JDBC, prepareThreshold=1", nil},
		{"jdbc-unprepared", java, with("URL_OPTIONS=prepareThreshold=0"), "JDBC, prepareThreshold=0: unnamed statements only", nil},
		{"jdbc-binary", java, with("URL_OPTIONS=prepareThreshold=-1"), "JDBC, prepareThreshold=-1: binary at once", nil},
		{"jdbc-autosave", java, with("URL_OPTIONS=autosave=always&cleanupSavepoints=true"), "JDBC, autosave=always", nil},
		{"jdbc-simple", java, with("URL_OPTIONS=preferQueryMode=simple"), "JDBC, preferQueryMode=simple", nil},
		{"pgx", program("pgx"), with("EXEC_MODE=cache_statement"), "pgx, its default: a cache of prepared statements", with(program("pgx")[0], "-version")},
		{"pgx-describe", program("pgx"), with("EXEC_MODE=cache_describe"), "pgx, QueryExecModeCacheDescribe", nil},
		{"pgx-describe-exec", program("pgx"), with("EXEC_MODE=describe_exec"), "pgx, QueryExecModeDescribeExec", nil},
		{"pgx-exec", program("pgx"), with("EXEC_MODE=exec"), "pgx, QueryExecModeExec", nil},
		{"pgx-simple", program("pgx"), with("EXEC_MODE=simple_protocol"), "pgx, QueryExecModeSimpleProtocol", nil},
		{"pq", program("pq"), nil, "lib/pq", with(program("pq")[0], "-version")},
		{"pq-binary", program("pq"), with("BINARY_PARAMETERS=yes"), "lib/pq, binary_parameters=yes", nil},
		{"node-pg", node, nil, "node-postgres with pg-cursor and pg-query-stream", with(node[0], node[1], "-version")},
	}
}

// jdbcJar is where Debian's libpostgresql-jdbc-java puts the driver.
const jdbcJar = "/usr/share/java/postgresql.jar"

// setting is one way to the servers. Nodes is 0 for the direct one.
type setting struct {
	name  string
	nodes int
	conf  map[string]string
}

// transactional tells whether server connections change hands between transactions.
func (s setting) transactional() bool { return s.conf["pool_mode"] == "transaction" }

// settings are the columns of the matrix; the first is what the others are compared with.
func settings() []setting {
	session := map[string]string{"pool_mode": "session"}
	transaction := map[string]string{"pool_mode": "transaction", "default_pool_size": "20"}
	return []setting{
		{"direct", 0, nil},
		{"session 1", 1, session},
		{"session 3", 3, session},
		{"transaction 1", 1, transaction},
		{"transaction 3", 3, transaction},
	}
}
