package wdtest

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/site"
	"gopgpool/internal/vipwatch"
)

// TestBed proves the test bed itself, with pgpools that know nothing of each other: the address is moved by hand.
func TestBed(t *testing.T) {
	c := site.NewCluster(t, site.ClusterOptions{Pgpools: []string{"server1", "server2"}, Settings: site.Settings{"use_watchdog": "off"}})
	c.Start(t)
	ip := func(id int, command string) {
		t.Helper()
		c.Run(t, c.Pgpools[id].Host, "root", "ip addr "+command+" "+c.VIP.String()+"/24 dev eth0")
	}
	raise := func(id int) {
		t.Helper()
		ip(id, "add")
		site.Must(t, vipwatch.Announce(c.Pgpools[id].Host, c.Device, c.VIP))
	}
	raise(0)
	if id := c.AwaitHolder(t, time.Second); id != 0 {
		t.Errorf("held by %d", id)
	}
	w := watch(t, c)
	served(t, c, w, healLimit)
	c.AwaitPoolNodes(t, healLimit, "0 up primary")
	if said := c.PCP(t, c.VIP.String(), "node_count"); said != "1" {
		t.Errorf("pcp_node_count: %q", said)
	}

	fault := w.Now()
	ip(0, "del")
	raise(1)
	served(t, c, w, healLimit)
	most := w.Now() - fault
	c.AwaitHolder(t, time.Second, 1)
	c.Pgpools[1].Freeze(t)
	frozen := w.Now()
	c.Await(t, "no answer from the frozen one", healLimit, func() (string, bool) {
		length, began := vipwatch.Outage(w.Peek().Selects, frozen, w.Now())
		return began.String(), length > time.Second
	})
	c.Pgpools[1].Thaw(t)
	served(t, c, w, healLimit)
	r := stop(t, w)
	took, host, ok := r.Takeover(fault)
	if t.Logf("taken over in %s; %s", took, r.Holders()); !ok || host != "server2" || took > most {
		t.Errorf("takeover in %s by %s, %v", took, host, ok)
	}
	ip(1, "del")
}

// TestEndings is how pgpools end.
func TestEndings(t *testing.T) {
	c := site.NewCluster(t, site.ClusterOptions{Pgpools: []string{"server1"}, Settings: site.Settings{"use_watchdog": "off"}})
	p := c.Pgpools[0]
	mark := p.Mark(t)
	c.Start(t)
	p.LogSays(t, mark, "successfully started")
	p.Kill(t)
	if p.Running() {
		t.Error("it runs after SIGKILL")
	}
	c.Start(t)
	c.Run(t, p.Host, "root", "pgpool -f "+site.EtcDir+"/pgpool.conf -m fast stop")
	if end := p.AwaitEnd(t, healLimit); end != "" {
		t.Errorf("it ended with %s", end)
	}
	c.Configure(t, 0, site.Settings{"no_such_parameter": "1", "port": "x"})
	p.Spawn(t)
	if end := p.AwaitEnd(t, healLimit); !strings.Contains(end, "exit status") {
		t.Errorf("with a bad configuration it ended with %q", end)
	}
	c.Configure(t, 0, nil)
	c.Start(t)
	p.Signal(t, syscall.SIGTERM)
	p.AwaitEnd(t, healLimit)
}
