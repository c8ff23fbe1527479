package web

import (
	"context"
	"errors"
	"log" //nolint:depguard // http.Server.ErrorLog takes no other one
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/pool"
	"gopgpool/proxy/meter"
)

// Limits on a client's behaviour. A request is a line and a few headers; the longest answer is that of /metrics.
const (
	headerTime = 5 * time.Second
	readTime   = 10 * time.Second
	writeTime  = 20 * time.Second
	idleTime   = 2 * time.Minute // Prometheus comes back within a minute
	maxHeader  = 4 << 10         // net/http adds 4 kB
	farewell   = time.Second     // for answers under way at the end
)

// Traffic is the proxy as seen from here.
type Traffic interface {
	// Measure tells what was counted. It returns when ctx ends, without what was not heard by then.
	Measure(ctx context.Context) *meter.Reading
	// Held tells how many sessions wait for a primary, and how many bytes of statements are kept for them.
	Held() (sessions int, bytes int64)
	// Accepting reports whether new clients are let in.
	Accepting() bool
}

// Connections is the pool of server connections as seen from here.
type Connections interface {
	Stats() []pool.PoolStats
	Totals() map[cluster.NodeID]pool.Totals
}

// Parts are what the server is built from. Functions are called from several goroutines and must not wait.
type Parts struct {
	Listeners []net.Listener // the server owns them
	Store     *cluster.Store
	Traffic   Traffic
	Pool      Connections
	Started   func() bool            // clients are served, or were
	Held      func() []time.Duration // for each loop, how long its present turn has lasted
	Fresh     func() time.Duration   // how old a measured delay may be; 0: none is measured
	Watchdog  func() *Watchdog       // nil, or returning nil, without a watchdog
	Version   string
	Log       logging.Logger
}

// Server answers over HTTP. Build it with New, then Run it.
type Server struct {
	parts   Parts
	bound   *bound
	changes *changes
	metrics func(*http.Request) (send func(http.ResponseWriter))
}

// New makes a server; nothing is answered so far. It fails if the metrics contradict each other.
func New(p Parts) (*Server, error) {
	s := &Server{parts: p, bound: &bound{most: maxConns}, changes: newChanges(p.Store.Current(), time.Now())}
	var err error
	s.metrics, err = newMetrics(newCollector(s))
	return s, err
}

// Run answers until ctx ends. A listener that fails is told in the log and takes nobody else with it.
func (s *Server) Run(ctx context.Context) error {
	defer s.parts.Store.Watch(func(v *cluster.View) { s.changes.see(v, time.Now()) })()
	s.changes.see(s.parts.Store.Current(), time.Now())
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ConnContext: withConn, ErrorLog: log.New(panics{s.parts.Log}, "", 0),
		DisableGeneralOptionsHandler: true,
	}
	var serving sync.WaitGroup
	for _, l := range s.parts.Listeners {
		serving.Go(func() { s.serve(h, l) })
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if err := h.Shutdown(end); err != nil {
		_ = h.Close()
	}
	serving.Wait()
	s.bound.all.Wait()
	return nil
}

func (s *Server) serve(h *http.Server, l net.Listener) {
	if err := h.Serve(limited{l, s.bound}); err != nil && !errors.Is(err, http.ErrServerClosed) {
		s.parts.Log.Log(logging.Event{
			Severity: logging.Warning, Message: "health checks and metrics are no longer answered on " + l.Addr().String(), Detail: err.Error(),
		})
	}
}

// panics writes down what net/http says of bugs of ours, and drops the rest: clients could fill the log with it at will.
type panics struct{ log logging.Logger }

func (p panics) Write(line []byte) (int, error) {
	if strings.HasPrefix(string(line), "http: panic") {
		p.log.Log(logging.Event{
			Severity: logging.Error, Message: "internal error in an HTTP request", Detail: strings.TrimSpace(string(line)), SQLState: "XX000",
		})
	}
	return len(line), nil
}

// facts are what answers are judged by now.
func (s *Server) facts() *Facts {
	p := &s.parts
	f := &Facts{
		View: p.Store.Current(), Gauges: p.Store.Gauges(), Needs: p.Store.Needs(), Now: time.Now(), Started: p.Started(), Fresh: p.Fresh(),
		Watchdog: s.watchdog(),
	}
	f.Waiting, _ = p.Traffic.Held()
	f.Stopping = f.Started && !p.Traffic.Accepting()
	for _, d := range p.Held() {
		f.Held = max(f.Held, d)
	}
	return f
}

func (s *Server) watchdog() *Watchdog {
	if s.parts.Watchdog == nil {
		return nil
	}
	return s.parts.Watchdog()
}
