package health

import (
	"time"

	"gopgpool/cluster"
)

// outcome of a cycle, for the statistics.
type outcome struct {
	skipped bool
	failed  bool
	spared  bool // a failure of a node that is never failed over does not count as one
	retries int
}

// count publishes the statistics of a cycle.
func (h *Check) count(id cluster.NodeID, o outcome, began, ended time.Time) {
	h.board.update(int(id)+1, func(nodes []cluster.NodeGauge) {
		nodes[id].HealthCheck = tally(nodes[id].HealthCheck, o, began, ended)
	})
}

// tally adds one cycle to the statistics (manual: SHOW POOL_HEALTH_CHECK_STATS). Skipped cycles touch no duration.
func tally(s cluster.HealthStats, o outcome, began, ended time.Time) cluster.HealthStats {
	first := s.Total == s.Skip
	s.Total++
	s.Last = ended
	if o.skipped {
		s.Skip++
		s.LastSkip = ended
		return s
	}
	took := ended.Sub(began)
	s.MaxDuration = max(s.MaxDuration, took)
	s.TotalDuration += took
	if first || took < s.MinDuration {
		s.MinDuration = took
	}
	s.Retry += uint64(o.retries)
	s.MaxRetry = max(s.MaxRetry, uint64(o.retries))
	switch {
	case !o.failed:
		s.Success++
		s.LastSuccess = ended
	case !o.spared:
		s.Fail++
		s.LastFailure = ended
	}
	return s
}
