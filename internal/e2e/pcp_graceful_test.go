package e2e

import (
	"slices"
	"strings"
	"testing"

	"gopgpool/pcp"
)

// TestPCPGracefully: the client that is connected is waited for, and the administrator who has waited too long is told.
func TestPCPGracefully(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"recovery_timeout": "1"})
	conn := connect(t, p)
	value(t, conn, "SELECT 1")
	got := asked(t, p, request{pcp.TypeDetachGracefully, "2\x00"})
	if len(got) != 1 || !strings.Contains(got[0], "clients are still connected, nothing was changed") {
		t.Errorf("%s", got)
	}
	value(t, conn, "SELECT 1")
	if status := psql(t, p, "SHOW pool_nodes").column(t, "status")[2]; status == "down" {
		t.Error("detached all the same")
	}
	reload(t, p, map[string]string{"recovery_timeout": "90"})
	eventually(t, "the new timeout", func() bool { return !strings.HasPrefix(psql(t, p, "PGPOOL SHOW recovery_timeout")[1][0], "1s") })
	c := dialPCP(t, p).login("postgres")
	c.send(pcp.TypeDetachGracefully, "2\x00")
	value(t, conn, "SELECT 1")
	_ = conn.Close(t.Context())
	c.send(pcp.TypeTerminate, "")
	if got := words(c.replies()[1:]); !slices.Equal(got, []string{`d "CommandComplete\x00"`}) {
		t.Errorf("%s", got)
	}
	if status := psql(t, p, "SHOW pool_nodes").column(t, "status")[2]; status != "down" {
		t.Errorf("node 2 is %s", status)
	}
}
