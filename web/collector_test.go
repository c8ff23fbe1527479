package web

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"gopgpool/cluster"
)

func collectorOf(t *testing.T, w *world) *collector {
	t.Helper()
	s, err := New(w.parts())
	if err != nil {
		t.Fatal(err)
	}
	return newCollector(s)
}

// The names and words of the metrics are what Prometheus' own rules ask for, and every one of them is told.
func TestMetricsKeepTheRules(t *testing.T) {
	t.Parallel()
	c := collectorOf(t, newWorld())
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(c); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	got, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]bool)
	for _, f := range got {
		told[f.GetName()] = true
	}
	for _, f := range families() {
		if !told[f.name] {
			t.Errorf("%s is not told", f.name)
		}
	}
}

func TestMetricsOfAWorld(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := collectorOf(t, w)
	text := scraped(t, c)
	for want, value := range map[string]string{
		`node_up{node="1"}`:                                                "1",
		`node_role{node="0",role="primary"}`:                               "1",
		`node_role{node="0",role="standby"}`:                               "0",
		`node_info{hostname="b",node="1",port="2"}`:                        "1",
		`primary_node`:                                                     "0",
		`node_needs_agent{node="0"}`:                                       "0",
		`node_needs_agent{node="1"}`:                                       "1",
		`replication_lag_bytes{node="1"}`:                                  "4096",
		`replication_lag_seconds{node="1"}`:                                "1",
		`health_checks_total{node="1",result="success"}`:                   "3",
		`sessions{database="d",state="idle"}`:                              "1000",
		`sessions{database="bad�",state="idle"}`:                           "5001",
		`sessions{database="",state="login"}`:                              "1",
		`client_slots{mode="session"}`:                                     "32",
		`pool_connections{database="d",node="0",state="active"}`:           "7",
		`pool_max_wait_seconds{database="d",node="0"}`:                     "2",
		`server_connections_opened_total{node="0"}`:                        "4",
		`routes_total{node="1",reason="dice"}`:                             "1",
		`query_duration_seconds_count{class="read",node="1"}`:              "2",
		`query_duration_seconds_bucket{class="read",node="1",le="0.0025"}`: "0",
		`query_duration_seconds_bucket{class="read",node="1",le="0.005"}`:  "1",
		`query_duration_seconds_bucket{class="read",node="1",le="+Inf"}`:   "2",
		`server_errors_total{class="23",node="0"}`:                         "1",
		`errors_total{class="08"}`:                                         "1",
		`pins_total{reason="temporary objects"}`:                           "1",
		`held_bytes`:                                                       "99",
		`watchdog_lease_left_seconds`:                                      "8",
		`watchdog_state{state="LEADER"}`:                                   "1",
		`loop_answered{loop="1"}`:                                          "1",
		`loop_held_seconds{loop="1"}`:                                      "0.001",
	} {
		if !strings.Contains(text, "\npgpool_"+want+" "+value+"\n") {
			t.Errorf("there is no %s %s in\n%s", want, value, text)
		}
	}
	w.watchdog = nil
	w.store.PublishNeeds(nil)
	text = scraped(t, c)
	if strings.Contains(text, "pgpool_watchdog") {
		t.Error("there are metrics of a watchdog that is off")
	}
	if strings.Contains(text, "pgpool_node_needs_agent{") {
		t.Error("a pgpool that does not act on servers tells whether they need an agent")
	}
}

// scraped is what Prometheus gets.
func scraped(t *testing.T, c *collector) string {
	t.Helper()
	h, err := newMetrics(c)
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	h(httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))(rec)
	if rec.Code != 200 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// However many databases there are, the number of series is bounded, and nothing is lost in sums.
func TestManyDatabases(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.databases = 300
	text := scraped(t, collectorOf(t, w))
	if n := strings.Count(text, "\npgpool_sessions{"); n > maxDatabases+3 {
		t.Errorf("%d series of sessions", n)
	}
	if !strings.Contains(text, `pgpool_sessions{database="(other)",state="idle"}`) {
		t.Error("what is left is not added up")
	}
}

// A loop that is held up delays a scrape by a second, and the scrape tells.
func TestStalledLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.stalled.Store(true)
		c := collectorOf(t, w)
		began := time.Now()
		text := scraped(t, c)
		if d := time.Since(began); d != measureTime {
			t.Errorf("the scrape took %v", d)
		}
		if !strings.Contains(text, `pgpool_loop_answered{loop="1"} 0`) || !strings.Contains(text, "pgpool_node_up") {
			t.Error(text)
		}
	})
}

// Scrapes take turns; who waits too long is told so.
func TestScrapesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.stalled.Store(true)
		h, err := newMetrics(collectorOf(t, w))
		if err != nil {
			t.Fatal(err)
		}
		codes := make(chan int, 8)
		var all sync.WaitGroup
		for range cap(codes) {
			all.Go(func() {
				rec := httptest.NewRecorder()
				h(httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))(rec)
				codes <- rec.Code
			})
		}
		all.Wait()
		close(codes)
		count := make(map[int]int)
		for c := range codes {
			count[c]++
		}
		if ok := count[200]; ok < 3 || ok > 4 || count[503] != cap(codes)-ok || int(w.measures.Load()) != ok {
			t.Errorf("answers %v, measured %d times", count, w.measures.Load())
		}
	})
}

// Views that are published count from the first moment on.
func TestRunFollowsViews(t *testing.T) {
	t.Parallel()
	s := serve(t, maxConns)
	s.ask(t, "GET", "/liveness")
	s.store.Publish(view(4, 0, cluster.StatusUp, cluster.StatusDown, nil))
	if _, text := s.ask(t, "GET", "/metrics"); !strings.Contains(text, `pgpool_failovers_total{kind="standby"} 1`) {
		t.Error(text)
	}
}

// docs/metrics.md lists all metrics; go test ./web -run TestMetricsAreDocumented -update writes it anew.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "docs", "metrics.md")
	text := document()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != text {
		t.Error("docs/metrics.md does not list the metrics that there are: go test ./web -run TestMetricsAreDocumented -update")
	}
}

const documentHead = `# Metrics

` + "`GET /metrics`" + ` on ` + "`http_port`" + ` answers in the format of Prometheus. This list is made of what the program tells:
` + "`go test ./web -run TestMetricsAreDocumented -update`" + `. The metrics of the Go runtime (` + "`go_*`" + `) and of the process
(` + "`process_*`" + `) are those of Prometheus' Go library.

- Names are stable. A label's values are words of SHOW pool_nodes, SHOW pool_sessions and pcp_watchdog_info where those have them.
- ` + "`database`" + ` tells the %d databases with the most sessions or connections apart; the others are added up as ` + "`%s`" + `.
- ` + "`class`" + ` of errors is the first two characters of SQLSTATE.
- Counters begin at 0 with the process. A loop that is held up (` + "`pgpool_loop_answered`" + ` is 0) is told with the counts it gave last.
- Times of statements have the resolution of one turn of an event loop: they are taken without asking the clock.
- Scrapes take turns, and each ends within a few seconds whatever the rest of the process does.

| metric | type | labels | meaning |
|---|---|---|---|
`

func document() string {
	var out strings.Builder
	fmt.Fprintf(&out, documentHead, maxDatabases, otherDatabases)
	for _, f := range families() {
		fmt.Fprintf(&out, "| `%s` | %v | %s | %s |\n", f.name, f.kind, strings.Join(f.labels, ", "), f.help)
	}
	return out.String()
}
