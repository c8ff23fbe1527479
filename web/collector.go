package web

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gopgpool/cluster"
	"gopgpool/proxy/meter"
)

// Times of a scrape: how long loops may take to answer, how long a scrape waits for the one before.
const (
	measureTime = time.Second
	turnTime    = 3 * time.Second
)

// collector fills the families in, anew for each scrape.
type collector struct {
	s       *Server
	known   map[string]family
	descs   map[string]*prometheus.Desc
	buckets []float64
}

func newCollector(s *Server) *collector {
	c := &collector{s: s, known: make(map[string]family), descs: make(map[string]*prometheus.Desc)}
	for _, f := range families() {
		c.known[f.name] = f
		c.descs[f.name] = prometheus.NewDesc(f.name, f.help, f.labels, nil)
	}
	for _, b := range meter.Bounds() {
		c.buckets = append(c.buckets, b.Seconds())
	}
	return c
}

// Describe lists the families.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect takes a snapshot of everything. It ends within measureTime and a little.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), measureTime)
	defer cancel()
	o := sink{c, ch}
	f, now := c.s.facts(), time.Now()
	r := c.s.parts.Traffic.Measure(ctx)
	o.process(f, r, c.s.parts.Held(), c.s.parts.Version)
	o.sessions(r)
	o.pools(c.s.parts.Pool)
	o.statements(r)
	o.holds(r)
	o.nodes(f)
	o.cluster(f, c.s.changes.read(now))
	if f.Watchdog != nil {
		o.watchdog(f.Watchdog)
	}
}

// sink takes the values of one scrape.
type sink struct {
	c  *collector
	ch chan<- prometheus.Metric
}

// put tells one value. A metric that is not listed, or has other labels, is a bug of ours: the scrape tells it.
func (o sink) put(name string, value float64, labels ...string) {
	f, ok := o.family(name)
	if !ok {
		return
	}
	o.send(f, func() (prometheus.Metric, error) {
		return prometheus.NewConstMetric(o.c.descs[f.name], f.kind.value(), value, labels...)
	})
}

func (o sink) histogram(name string, h *meter.Histogram, labels ...string) {
	f, ok := o.family(name)
	if !ok {
		return
	}
	below := make(map[float64]uint64, len(o.c.buckets))
	n := uint64(0)
	for i, b := range o.c.buckets {
		n += h.Counts[i]
		below[b] = n
	}
	o.send(f, func() (prometheus.Metric, error) {
		return prometheus.NewConstHistogram(o.c.descs[f.name], h.Count(), h.Sum.Seconds(), below, labels...)
	})
}

func (o sink) family(name string) (family, bool) {
	f, ok := o.c.known["pgpool_"+name]
	if !ok {
		o.ch <- prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(fmt.Errorf("web: no metric %q", name)), nil)
	}
	return f, ok
}

func (o sink) send(f family, make func() (prometheus.Metric, error)) {
	m, err := make()
	if err != nil {
		m = prometheus.NewInvalidMetric(o.c.descs[f.name], err)
	}
	o.ch <- m
}

// one tells 1 for the value that is, 0 for all others.
func (o sink) one(name, is string, all []string, labels ...string) {
	for _, v := range all {
		o.put(name, truth(v == is), append(labels[:len(labels):len(labels)], v)...)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func nodeLabel(id cluster.NodeID) string { return strconv.Itoa(int(id)) }

// stamp is a time as metrics have it, 0 for none.
func stamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// valid makes a label of text that clients have chosen.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// newMetrics works out what /metrics says: our metrics, and what the Go runtime and the kernel tell of the process. Scrapes take turns; who
// waits for his may lose his connection to a newer one.
func newMetrics(c *collector) (func(*http.Request) (send func(http.ResponseWriter)), error) {
	registry := prometheus.NewRegistry()
	for _, x := range []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(x); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	scrape := promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	turn := make(chan struct{}, 1)
	return func(r *http.Request) func(http.ResponseWriter) {
		wait := time.NewTimer(turnTime)
		defer wait.Stop()
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
			defer c.s.bound.serving(r.Context())()
			p := &page{header: make(http.Header), status: http.StatusOK}
			scrape.ServeHTTP(p, r)
			return p.send
		case <-wait.C:
		case <-r.Context().Done():
		}
		busy := reply{http.StatusServiceUnavailable, problem("other scrapes are under way")}
		return func(w http.ResponseWriter) { write(w, r, busy) }
	}, nil
}

// page is an answer that is kept until it is complete.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (p *page) Header() http.Header         { return p.header }
func (p *page) WriteHeader(status int)      { p.status = status }
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }

func (p *page) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.header)
	w.Header().Set("Content-Length", strconv.Itoa(p.body.Len()))
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body.Bytes()) // a client that has gone needs no answer
}
