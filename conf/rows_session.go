package conf

import (
	"net/netip"
	"time"
)

func modeRows() []Param {
	return []Param{
		enum("backend_clustering_mode", Start, clusteringModes(), "streaming_replication",
			"who replicates the data, and so how statements are routed",
			func(c *Config) *ClusteringMode { return &c.BackendClusteringMode }),
		boolean("replication_mode", Start, "off",
			"remnant of 4.1: write backend_clustering_mode = native_replication instead",
			func(c *Config) *bool { return &c.ReplicationMode }),
	}
}

func connectionRows() []Param {
	return []Param{
		list("listen_addresses", Start, ',', "localhost",
			"TCP addresses for clients; * means all, empty means none",
			func(c *Config) *[]string { return &c.Connections.ListenAddresses }),
		integer("port", Start, 1024, 65535, "9999",
			"port for clients, also the suffix of the socket file",
			func(c *Config) *int { return &c.Connections.Port }),
		list("unix_socket_directories", Start, ',', "/tmp",
			"directories that get a socket for clients; one must be usable",
			func(c *Config) *[]string { return &c.Connections.UnixSocketDirectories }),
		text("unix_socket_group", Start, "",
			"group that owns the sockets for clients, by name or number",
			func(c *Config) *string { return &c.Connections.UnixSocketGroup }),
		fileMode("unix_socket_permissions", Start, 0o777, "0777",
			"permissions of the sockets for clients, octal with a leading 0",
			func(c *Config) *uint32 { return &c.Connections.UnixSocketPermissions }),
		list("pcp_listen_addresses", Start, ',', "localhost",
			"TCP addresses for PCP commands; * means all, empty means none",
			func(c *Config) *[]string { return &c.Connections.PcpListenAddresses }),
		integer("pcp_port", Start, 1024, 65535, "9898",
			"port for PCP commands, also the suffix of their socket file",
			func(c *Config) *int { return &c.Connections.PcpPort }),
		list("pcp_socket_dir", Start, ',', "/tmp",
			"directories that get a socket for PCP commands; one must be usable",
			func(c *Config) *[]string { return &c.Connections.PcpSocketDir }),
		ours(enum("pcp_node_info_layout", Reload, nodeInfoLayouts(), "4.7",
			"fields of pcp_node_info: 4.7 for tools from 4.4 on, 4.3 for those of 4.3",
			func(c *Config) *NodeInfoLayout { return &c.Connections.PcpNodeInfoLayout })),
	}
}

func poolRows() []Param {
	return append(sessionRows(), processRows()...)
}

func sessionRows() []Param {
	return []Param{
		integer("num_init_children", Start, 1, maxInt, "32",
			"client sessions served at the same time",
			func(c *Config) *int { return &c.Pool.NumInitChildren }),
		integer("reserved_connections", Start, 0, maxInt, "0",
			"refuse clients when only this many sessions are left; 0 lets them wait",
			func(c *Config) *int { return &c.Pool.ReservedConnections }),
		ours(integer("max_client_conn", Start, 0, maxInt, "0",
			"client sockets open at a time, waiting ones included; 0 derives it",
			func(c *Config) *int { return &c.Pool.MaxClientConn })),
		ours(duration("query_wait_timeout", Reload, "s", 0, "0",
			"longest wait for a server connection, then refusal; 0 waits on",
			func(c *Config) *time.Duration { return &c.Pool.QueryWaitTimeout })),
		duration("client_idle_limit", Session, "s", 0, "0",
			"disconnect a client that was idle for this long; 0 never does",
			func(c *Config) *time.Duration { return &c.Pool.ClientIdleLimit }),
		integer("max_pool", Start, 0, maxInt, "4",
			"times num_init_children: most server connections kept per node",
			func(c *Config) *int { return &c.Pool.MaxPool }),
		boolean("connection_cache", Start, "on",
			"keep server connections after the session for later ones",
			func(c *Config) *bool { return &c.Pool.ConnectionCache }),
		duration("connection_life_time", Start, "s", 0, "0",
			"close a server connection that was idle for this long; 0 never does",
			func(c *Config) *time.Duration { return &c.Pool.ConnectionLifeTime }),
		list("reset_query_list", Reload, ';', "ABORT;DISCARD ALL",
			"statements that clean a server connection when its client leaves",
			func(c *Config) *[]string { return &c.Pool.ResetQueryList }),
	}
}

func processRows() []Param {
	return []Param{
		duration("child_life_time", Start, "s", 0, "300",
			"renew a serving slot that was idle for this long; 0 never does",
			func(c *Config) *time.Duration { return &c.Pool.ChildLifeTime }),
		integer("child_max_connections", Start, 0, maxInt, "0",
			"renew a serving slot after this many sessions; 0 never does",
			func(c *Config) *int { return &c.Pool.ChildMaxConnections }),
		integer("listen_backlog_multiplier", Start, 1, maxInt, "2",
			"times num_init_children: length of the listen queue, at most 10000",
			func(c *Config) *int { return &c.Pool.ListenBacklogMultiplier }),
		boolean("serialize_accept", Start, "off",
			"accepted for compatibility: accepting needs no lock here",
			func(c *Config) *bool { return &c.Pool.SerializeAccept }),
		enum("process_management_mode", Reload, processModes(), "static",
			"accepted for compatibility: sessions are no processes here",
			func(c *Config) *ProcessManagementMode { return &c.Pool.ProcessManagementMode }),
		enum("process_management_strategy", Reload, processStrategies(), "gentle",
			"accepted for compatibility: how fast spare processes would end",
			func(c *Config) *ProcessManagementStrategy { return &c.Pool.ProcessManagementStrategy }),
		integer("min_spare_children", Reload, 1, maxInt, "5",
			"accepted for compatibility: fewest spare processes",
			func(c *Config) *int { return &c.Pool.MinSpareChildren }),
		integer("max_spare_children", Reload, 1, maxInt, "10",
			"accepted for compatibility: most spare processes",
			func(c *Config) *int { return &c.Pool.MaxSpareChildren }),
	}
}

// defaultAuthQuery leaves out who may not log in, and the password that has expired.
const defaultAuthQuery = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END " +
	"FROM pg_authid WHERE rolname = $1 AND rolcanlogin"

func authRows() []Param {
	return []Param{
		boolean("enable_pool_hba", Reload, "off",
			"check clients by pool_hba.conf",
			func(c *Config) *bool { return &c.Auth.EnablePoolHba }),
		secret(path("pool_passwd", Start, "pool_passwd",
			"file with users' passwords; empty means none",
			func(c *Config) *string { return &c.Auth.PoolPasswd })),
		duration("authentication_timeout", Start, "s", 0, "60",
			"time a client has to finish its login; 0 means for ever",
			func(c *Config) *time.Duration { return &c.Auth.AuthenticationTimeout }),
		boolean("allow_clear_text_frontend_auth", Reload, "off",
			"ask a client without pool_passwd entry for its password in clear",
			func(c *Config) *bool { return &c.Auth.AllowClearTextFrontendAuth }),
		ours(boolean("allow_insecure_key_file", Start, "off",
			"use a password key file that others may read",
			func(c *Config) *bool { return &c.Auth.AllowInsecureKeyFile })),
		ours(path("ident_file", Reload, "pool_ident.conf",
			"user name maps of pool_hba.conf's option map",
			func(c *Config) *string { return &c.Auth.IdentFile })),
		ours(text("auth_user", Reload, "",
			"user who asks a server for passwords that pool_passwd lacks; empty asks not",
			func(c *Config) *string { return &c.Auth.AuthUser })),
		ours(text("auth_query", Reload, defaultAuthQuery,
			"query for a user's name and password, $1 is the name",
			func(c *Config) *string { return &c.Auth.AuthQuery })),
		ours(text("auth_dbname", Reload, "",
			"database in which auth_query runs; empty is the client's",
			func(c *Config) *string { return &c.Auth.AuthDbname })),
		ours(duration("auth_delay", Reload, "ms", 0, "250",
			"time between a failed login and its error; 0 answers at once",
			func(c *Config) *time.Duration { return &c.Auth.AuthDelay })),
		ours(integer("max_startups_per_address", Reload, 0, maxInt, "1000",
			"connections of one address that may be logging in at a time; 0 sets no bound",
			func(c *Config) *int { return &c.Auth.MaxStartupsPerAddress })),
		ours(networks("proxy_protocol_networks", Reload, "",
			"networks whose connections begin with a PROXY protocol header",
			func(c *Config) *[]netip.Prefix { return &c.Auth.ProxyProtocolNetworks })),
	}
}

func sslRows() []Param {
	return []Param{
		boolean("ssl", Start, "off",
			"TLS towards clients and servers",
			func(c *Config) *bool { return &c.SSL.SSL }),
		path("ssl_key", Start, "",
			"private key shown to clients, PEM",
			func(c *Config) *string { return &c.SSL.SSLKey }),
		path("ssl_cert", Start, "",
			"certificate shown to clients, PEM, with its chain",
			func(c *Config) *string { return &c.SSL.SSLCert }),
		path("ssl_ca_cert", Start, "",
			"authorities that servers' and clients' certificates must come from, PEM",
			func(c *Config) *string { return &c.SSL.SSLCaCert }),
		text("ssl_ca_cert_dir", Start, "",
			"directory of such authorities",
			func(c *Config) *string { return &c.SSL.SSLCaCertDir }),
		path("ssl_crl_file", Start, "",
			"list of client certificates that were revoked",
			func(c *Config) *string { return &c.SSL.SSLCrlFile }),
		text("ssl_ciphers", Start, "HIGH:MEDIUM:+3DES:!aNULL",
			"ciphers up to TLS 1.2, in OpenSSL's notation",
			func(c *Config) *string { return &c.SSL.SSLCiphers }),
		boolean("ssl_prefer_server_ciphers", Start, "off",
			"accepted for compatibility: the order of ciphers is not configurable",
			func(c *Config) *bool { return &c.SSL.SSLPreferServerCiphers }),
		text("ssl_ecdh_curve", Start, "prime256v1",
			"curve of the key exchange",
			func(c *Config) *string { return &c.SSL.SSLEcdhCurve }),
		text("ssl_dh_params_file", Start, "",
			"accepted for compatibility: DH key exchange does not exist here",
			func(c *Config) *string { return &c.SSL.SSLDhParamsFile }),
		text("ssl_passphrase_command", Start, "",
			"command that prints the pass phrase of ssl_key",
			func(c *Config) *string { return &c.SSL.SSLPassphraseCommand }),
		ours(enum("ssl_min_protocol_version", Reload, protocolVersions(), "TLSv1.2",
			"oldest version of TLS that clients may use",
			func(c *Config) *ProtocolVersion { return &c.SSL.SSLMinProtocolVersion })),
		ours(enum("ssl_max_protocol_version", Reload, protocolVersions(), "",
			"newest version of TLS that clients may use; empty sets no bound",
			func(c *Config) *ProtocolVersion { return &c.SSL.SSLMaxProtocolVersion })),
	}
}

// backendTLS is the place of a backend_ssl* parameter: of all nodes, or of one that has values of its own.
func (c *Config) backendTLS(n int) *NodeTLS {
	if n == noIndex {
		return &c.BackendTLS.Global
	}
	if t, ok := c.BackendTLS.Nodes[n]; ok {
		return t
	}
	t := c.BackendTLS.Global
	return &t
}

func backendTLSRows() []Param {
	const f = FamilyBackendTLS
	file := func(name, doc string, at func(c *Config, n int) *string) Param {
		return ours(numbered(f, path(name, Reload, "", doc, nil), at))
	}
	return []Param{
		ours(numberedEnum(f, enum[SSLMode]("backend_sslmode", Reload, sslModes(), "auto",
			"TLS to the server and checks of its certificate; auto follows ssl", nil),
			func(c *Config, n int) *SSLMode { return &c.backendTLS(n).Mode })),
		file("backend_sslcert", "certificate shown to the server, PEM, with its chain",
			func(c *Config, n int) *string { return &c.backendTLS(n).Cert }),
		file("backend_sslkey", "private key of backend_sslcert, PEM",
			func(c *Config, n int) *string { return &c.backendTLS(n).Key }),
		file("backend_sslrootcert", "authorities the server's certificate must come from, PEM; empty is ssl_ca_cert",
			func(c *Config, n int) *string { return &c.backendTLS(n).RootCert }),
		file("backend_sslcrl", "list of server certificates that were revoked",
			func(c *Config, n int) *string { return &c.backendTLS(n).CRL }),
	}
}
