package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// reply is what is sent.
type reply struct {
	status int
	body   []byte
}

func judged(f *Facts, v Verdict) reply { return reply{statusOf(v), f.body(v)} }

func statusOf(v Verdict) int {
	if v.OK {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

func notFound() reply { return reply{http.StatusNotFound, problem("there is nothing here")} }

// answer finds the question that a path and a query put, and answers it.
func answer(f *Facts, path string, query func(name string) string) reply {
	switch path {
	case "/health":
		return judged(f, f.Health())
	case "/liveness":
		return judged(f, f.Liveness())
	case "/readiness":
		return judged(f, f.Readiness())
	case "/primary", "/read-write":
		return judged(f, f.Primary())
	case "/read-only":
		return judged(f, f.ReadOnly())
	case "/replica":
		lag, err := lagAsked(query)
		if err != nil {
			return reply{http.StatusBadRequest, problem(err.Error())}
		}
		return judged(f, f.Replica(lag))
	case "/leader":
		return judged(f, f.Leader())
	case "/status":
		return reply{http.StatusOK, f.body(f.Health())}
	case "/nodes":
		return reply{http.StatusOK, f.nodes()}
	}
	if rest, ok := strings.CutPrefix(path, "/nodes/"); ok {
		return answerNode(f, rest, query)
	}
	return notFound()
}

// answerNode is about one node: N, N/primary, N/replica.
func answerNode(f *Facts, rest string, query func(string) string) reply {
	number, question, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	id := cluster.NodeID(n)
	if err != nil || !f.known(id) || strings.HasSuffix(rest, "/") {
		return notFound()
	}
	var v Verdict
	switch question {
	case "":
		v = f.Node(id)
	case "primary":
		v = f.NodePrimary(id)
	case "replica":
		lag, err := lagAsked(query)
		if err != nil {
			return reply{http.StatusBadRequest, problem(err.Error())}
		}
		v = f.NodeReplica(id, lag)
	default:
		return notFound()
	}
	return reply{statusOf(v), f.nodeBody(id, v)}
}

func lagAsked(query func(string) string) (Lag, error) {
	s := query("lag")
	if s == "" {
		return Lag{}, nil
	}
	return ParseLag(s)
}

// queryOf finds the values of a query. One that cannot be read is the value of everything, so that what is asked for is not passed over.
func queryOf(raw string) func(name string) string {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return func(string) string { return raw }
	}
	return values.Get
}

// ServeHTTP answers one request. The answer is complete before the first byte of it is sent: a client that reads slowly holds nobody up,
// and its connection may be closed for another one.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	send := s.respond(r)
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // nobody waits for what comes
	}
	send(w)
}

// respond works an answer out and returns what sends it.
func (s *Server) respond(r *http.Request) (send func(http.ResponseWriter)) {
	var a reply
	switch r.Method {
	case http.MethodOptions, http.MethodGet, http.MethodHead: // the first as Patroni does: the status is the answer
		switch {
		case r.URL.Path != "/metrics":
			defer s.bound.serving(r.Context())()
			a = answer(s.facts(), r.URL.Path, queryOf(r.URL.RawQuery))
		case r.Method == http.MethodOptions:
			a.status = http.StatusOK
		default:
			return s.metrics(r)
		}
	default:
		a = reply{http.StatusMethodNotAllowed, problem("only GET, HEAD and OPTIONS are answered")}
	}
	return func(w http.ResponseWriter) { write(w, r, a) }
}

func write(w http.ResponseWriter, r *http.Request, a reply) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	if r.Method == http.MethodOptions || a.status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, HEAD, OPTIONS")
	}
	if r.Method == http.MethodOptions {
		h.Set("Content-Length", "0")
		a.body = nil
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // a client that has gone needs no answer
	}
}
