package conf

import "os"

// Directory is where programs look for pgpool.conf unless an option names it: what the program was built with (set), else where the
// packages of Debian or the project itself keep it, else where a build from source does.
func Directory(set string) string {
	return directory(set, func(path string) bool {
		st, err := os.Stat(path)
		return err == nil && st.IsDir()
	})
}

func directory(set string, exists func(string) bool) string {
	if set != "" {
		return set
	}
	for _, dir := range []string{"/etc/pgpool2", "/etc/pgpool-II"} {
		if exists(dir) {
			return dir
		}
	}
	return "/usr/local/etc"
}
