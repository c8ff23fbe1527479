package conf

// bouncerNames says what to write here for parameters of PgBouncer that have another name.
func bouncerNames() map[string]string {
	return map[string]string{
		"listen_addr":            "listen_addresses",
		"listen_port":            "port",
		"listen_backlog":         "listen_backlog_multiplier",
		"unix_socket_dir":        "unix_socket_directories",
		"unix_socket_mode":       "unix_socket_permissions",
		"pidfile":                "pid_file_name",
		"logfile":                "log_directory",
		"syslog":                 "log_destination",
		"auth_file":              "pool_passwd",
		"auth_type":              "enable_pool_hba and a pool_hba.conf",
		"auth_hba_file":          "enable_pool_hba and a pool_hba.conf",
		"client_login_timeout":   "authentication_timeout",
		"server_connect_timeout": "connect_timeout",
		"server_reset_query":     "reset_query_list",
		"reserve_pool":           "reserve_pool_size",
		"client_tls_sslmode":     "ssl",
		"client_tls_key_file":    "ssl_key",
		"client_tls_cert_file":   "ssl_cert",
		"client_tls_ca_file":     "ssl_ca_cert",
		"client_tls_ciphers":     "ssl_ciphers",
		"client_tls_ecdhcurve":   "ssl_ecdh_curve",
		"server_tls_sslmode":     "ssl",
		"server_tls_ca_file":     "ssl_ca_cert",
	}
}
