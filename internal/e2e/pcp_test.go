package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/pcp"
)

// TestPCPLayout: without being told otherwise a row has the fields of 4.7, and a reload changes that.
func TestPCPLayout(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	fields := func() int {
		c := dialPCP(t, p).login("postgres")
		c.send(pcp.TypeNodeInfo, "1\x00")
		c.send(pcp.TypeTerminate, "")
		if got := c.replies(); len(got) == 4 {
			return len(got[2].Strings()) - 1
		}
		return 0
	}
	if n := fields(); n != 13 {
		t.Errorf("%d fields", n)
	}
	reload(t, p, map[string]string{"pcp_node_info_layout": "4.3"})
	eventually(t, "the layout of 4.3", func() bool { return fields() == 12 })
}

func TestPCPReload(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	if err := p.Rewrite(map[string]string{"client_idle_limit": "2000"}); err != nil {
		t.Fatal(err)
	}
	if got := asked(t, p, request{pcp.TypeReload, "l"}); !slices.Equal(got, []string{`z "CommandComplete\x00"`}) {
		t.Errorf("%s", got)
	}
	eventually(t, "the new value", func() bool { return strings.HasPrefix(psql(t, p, "PGPOOL SHOW client_idle_limit")[1][0], "2000") })
}

// TestPCPStop: the answer comes, then the server ends; a smart stop waits for the client that is connected.
func TestPCPStop(t *testing.T) {
	t.Parallel()
	for _, r := range []request{{'T', "s"}, {'T', "f"}, {'T', "i"}, {'t', "f"}} {
		p := start(t, nil)
		conn := connect(t, p)
		if got := asked(t, p, r); !slices.Equal(got, []string{`t "CommandComplete\x00"`}) {
			t.Errorf("%c %s: %s", r.typ, r.payload, got)
		}
		if r.payload == "s" {
			value(t, conn, "SELECT 1")
			_ = conn.Close(t.Context())
		}
		if code, err := p.Wait(t.Context()); err != nil || code != 0 {
			t.Errorf("%c %s: exit code %d, %v", r.typ, r.payload, code, err)
		}
	}
}

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

// TestPCPFrozenNode: a server that says nothing does not keep an administrator from asking about another. Not parallel.
func TestPCPFrozenNode(t *testing.T) {
	p := start(t, map[string]string{"health_check_period": "600", "sr_check_period": "600", "pcp_node_info_layout": "4.3"})
	node := shared.Cluster(t).Nodes[2]
	if err := node.Pause(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Resume(); err != nil {
			t.Error(err)
		}
	})
	began := time.Now()
	if got := asked(t, p, request{'I', "-1\x00"}); len(got) != 5 || !strings.Contains(got[3], `\x00down\x00`) {
		t.Errorf("all: %s", got)
	}
	all := time.Since(began) // which is how long the frozen node was waited for
	var got []string
	for began = time.Now(); time.Since(began) < patience; { // one that a busy machine holds up does not tell
		before := time.Now()
		got = asked(t, p, request{'I', "0\x00"})
		if len(got) == 3 && strings.Contains(got[1], `\x00up\x00`) && time.Since(before) < min(all/2, time.Second) {
			return
		}
	}
	t.Errorf("node 0, while it took %v to tell of all: %s", all, got)
}
