package conf

// debianDir is where Debian's package of Pgpool-II has its pgpool.conf. That package is compiled with other defaults than the original,
// and its pgpool.conf relies on them.
const debianDir = "/etc/pgpool2"

// defaultIn is the value of a parameter that is not set in a pgpool.conf in dir.
func (p *Param) defaultIn(dir string) string {
	if dir != debianDir {
		return p.Default
	}
	switch p.Name {
	case "unix_socket_directories", "pcp_socket_dir", "wd_ipc_socket_dir":
		return "/var/run/postgresql"
	case "pid_file_name":
		return "/var/run/postgresql/pgpool.pid"
	case "work_dir":
		return "/var/log/postgresql"
	}
	return p.Default
}
