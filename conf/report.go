package conf

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Report writes what pgpool -t tells about a configuration: the problems, worst first, then if it can be used what it sets up
// and what differs from the defaults. c may be nil, which Load returns for a file that cannot be used.
func (c *Config) Report(w io.Writer, problems []Problem) error {
	r := reporter{w: w}
	errors := 0
	for _, p := range slices.SortedStableFunc(slices.Values(problems), func(a, b Problem) int {
		return cmp.Compare(b.Severity, a.Severity)
	}) {
		if p.Severity == Error {
			errors++
		}
		r.printf("%s: %s\n", p.Severity, p)
	}
	if c != nil && errors == 0 {
		c.summary(&r)
	}
	r.printf("%s, %s\n", count(errors, "error"), count(len(problems)-errors, "warning"))
	return r.err
}

// reporter keeps the first error of writing.
type reporter struct {
	w   io.Writer
	err error
}

func (r *reporter) printf(format string, args ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.w, format, args...)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (c *Config) summary(r *reporter) {
	r.printf("%s\n", c.Path)
	r.printf("  mode     %s\n", c.BackendClusteringMode)
	r.printf("  clients  port %d, %s at a time\n", c.Connections.Port, count(c.Pool.NumInitChildren, "session"))
	c.summarizePools(r)
	sum := 0.0
	for i := range c.Backends {
		sum += c.Backends[i].Weight
	}
	for i := range c.Backends {
		b := &c.Backends[i]
		if !b.Exists() {
			continue
		}
		share := 0.0
		if sum > 0 {
			share = 100 * b.Weight / sum
		}
		r.printf("  backend  %d at %s:%d, %.0f%% of the reads, %s\n", i, b.Hostname, b.Port, share, b.Flag)
	}
	if len(c.Backends) == 0 {
		r.printf("  no backend is configured\n")
	}
	if w := &c.Watchdog; w.UseWatchdog {
		r.printf("  watchdog node %d of %d, lease %s, state in %s\n", w.NodeID, w.count(), w.Lease(), w.StateDirectory())
	}
	r.printf("  set      ")
	differing := c.differing()
	if len(differing) == 0 {
		r.printf("nothing but defaults\n")
		return
	}
	r.printf("%s\n", count(len(differing), "parameter"))
	for _, i := range differing {
		r.printf("    %s = %s\n", i.Name, i.Value)
	}
}

// summarizePools tells how server connections are shared, where anything is said about it.
func (c *Config) summarizePools(r *reporter) {
	f := &c.poolFile
	if c.Pools.PoolMode == PoolModeSession && c.Pools.PoolFile == "" {
		return
	}
	r.printf("  pools    pool_mode %s", c.Pools.PoolMode)
	if c.Pools.PoolFile != "" {
		r.printf(", %s: %s, %s", c.Pools.PoolFile, count(len(f.databases), "database"), count(len(f.users), "user"))
	}
	if f.fallback != nil {
		r.printf(", other databases as *")
	}
	r.printf("\n")
}

// differing lists the parameters whose value is not the default, backends apart.
func (c *Config) differing() []Item {
	standard := defaultAt(c.Path)
	var items []Item
	for i := range params().rows {
		p := &params().rows[i]
		if p.Family == FamilyBackend {
			continue
		}
		for _, n := range append([]int{noIndex}, c.indexes(p)...) {
			if _, set := c.assigned[key{p.Name, n}]; set && c.exact(p, n) != standard.exact(p, n) {
				items = append(items, c.item(p, n))
			}
		}
	}
	return items
}
