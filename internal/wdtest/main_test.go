package wdtest

import (
	"os"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
	"gopgpool/internal/vipwatch"
)

func TestMain(m *testing.M) {
	hosts.RunHelper()
	os.Exit(m.Run())
}

// fullEnv has all tests run; without it a few do that take less than a minute together.
const fullEnv = "GOPGPOOL_WD"

// resultsEnv names the file for the table of results.
const resultsEnv = "GOPGPOOL_WD_RESULTS"

// long leaves a test to make wd.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv(fullEnv) == "" {
		t.Skip("left to make wd")
	}
}

// requireWatchdog skips while the daemon cannot have a watchdog.
func requireWatchdog(t *testing.T) {
	t.Helper()
	var c conf.Config
	c.Watchdog.UseWatchdog = true
	for _, p := range c.NotBuilt() {
		if p.Name == "use_watchdog" {
			t.Skip(p.Text)
		}
	}
}

// newCluster is a cluster whose pgpools have not been started.
func newCluster(t *testing.T, opts site.ClusterOptions) *site.Cluster {
	t.Helper()
	requireWatchdog(t)
	return site.NewCluster(t, opts)
}

// watch observes the cluster's virtual address until the record is asked for, or the test ends.
func watch(t *testing.T, c *site.Cluster) *vipwatch.Watch {
	t.Helper()
	w, err := vipwatch.Start(vipwatch.Options{
		VIP: c.VIP, Hosts: c.PgpoolHosts(), Client: c.Client, Device: c.Device, Port: site.PgpoolPort, User: "postgres",
	})
	site.Must(t, err)
	t.Cleanup(func() { _, _ = w.Stop() }) // the test has its result
	return w
}

// stop ends a watch and returns what it saw. Two holders are an error whatever the test was about.
func stop(t *testing.T, w *vipwatch.Watch) vipwatch.Record {
	t.Helper()
	r, err := w.Stop()
	site.Must(t, err)
	for _, o := range r.Overlaps() {
		t.Errorf("two holders: %s", o)
	}
	for _, o := range r.Disputes() {
		t.Errorf("two hosts answer for the virtual address: %s", o)
	}
	return r
}

// served waits until a SELECT through the virtual address succeeds that began after now.
func served(t *testing.T, c *site.Cluster, w *vipwatch.Watch, limit time.Duration) {
	t.Helper()
	now := w.Now()
	c.Await(t, "clients are served through the virtual address", limit, func() (string, bool) {
		r := w.Peek()
		for _, a := range r.Selects {
			if a.Began > now && a.Err == "" {
				return "", true
			}
		}
		return r.Holders() + "\n" + vipwatch.Failures(r.Selects), false
	})
}
