package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLinksOfOthersLeadNowhere: an agent that is root acts as the owner of the data directory. Who owns the directory above could put a link
// there to a directory of somebody else, and have that one's files removed and programs run in that one's name.
func TestLinksOfOthersLeadNowhere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root acts in the name of others")
	}
	const server, other = 12001, 12002
	above := t.TempDir()
	if err := os.Chmod(above, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := func(name string, uid int) string {
		t.Helper()
		path := filepath.Join(above, name)
		if err := errors.Join(os.Mkdir(path, 0o755), os.Lchown(path, uid, uid)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(to, name string, uid int) string {
		t.Helper()
		path := filepath.Join(above, name)
		if err := errors.Join(os.Symlink(to, path), os.Lchown(path, uid, uid)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	home, servers := dir("home", other), dir("servers", server)
	main := dir("servers/main", server)
	dir("servers/squatted", server)
	dir("servers/squatted.pgpool", other)
	for _, c := range []struct {
		name, dir string
		taken     bool
	}{
		{"the owner's own", main, true},
		{"not there yet", filepath.Join(servers, "new"), true},
		{"a link of root", link(main, "byroot", 0), true},
		{"a link of the owner to his own", link("main", "servers/own", server), true},
		{"a link to somebody else's directory", link(home, "servers/theirs", server), false},
		{"a relative one", link("../home", "servers/relative", server), false},
		{"by a link of root", link(filepath.Join(servers, "theirs"), "twice", 0), false},
		{"somebody else's directory within", dir("servers/lent", other), false},
		{"our directory is somebody else's", filepath.Join(servers, "squatted"), false},
	} {
		if _, err := locate(c.dir); (err == nil) != c.taken || err != nil && !errors.Is(err, errForeign) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
