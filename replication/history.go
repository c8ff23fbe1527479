package replication

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// History is where the ancestors of a timeline ended. Its zero value is unknown.
type History struct {
	// Timeline is whose history it is.
	Timeline cluster.Timeline
	// Forks are its ancestors, oldest first.
	Forks []Fork
}

// Fork is the end of a timeline: what a server has of it beyond End, its descendants do not have.
type Fork struct {
	Timeline cluster.Timeline
	End      cluster.LSN
}

// fork finds where the way to h's timeline left t. A server on h's own timeline has nothing to fear.
func (h History) fork(t cluster.Timeline) (cluster.LSN, bool) {
	for _, f := range h.Forks {
		if f.Timeline == t {
			return f.End, true
		}
	}
	return 0, false
}

// parseHistory reads a .history file: lines of timeline, position, reason.
func parseHistory(t cluster.Timeline, file []byte) (History, error) {
	h := History{Timeline: t}
	lines := bufio.NewScanner(bytes.NewReader(file))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 2 {
			return History{}, fmt.Errorf("history of timeline %d: unexpected line", t)
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return History{}, fmt.Errorf("history of timeline %d: %w", t, err)
		}
		end, err := cluster.ParseLSN(f[1])
		if err != nil {
			return History{}, fmt.Errorf("history of timeline %d: %w", t, err)
		}
		h.Forks = append(h.Forks, Fork{Timeline: cluster.Timeline(n), End: end})
	}
	return h, lines.Err()
}

// history asks a primary for the history of its timeline. Its file is read where we may (superusers); else a replication connection is
// asked, which needs the attribute REPLICATION and no record for "replication" in pg_hba.conf, because it names a database.
func (l *links) history(ctx context.Context, n cluster.Node, t cluster.Timeline) (History, error) {
	if t <= 1 {
		return History{Timeline: t}, nil
	}
	var file []byte
	err := l.use(ctx, n, func(s *server) error {
		row, err := s.row(ctx, fmt.Sprintf("SELECT pg_read_file('pg_wal/%08X.history')", uint32(t)), 1)
		if err == nil {
			file = row[0]
		}
		return err
	})
	if err != nil {
		var second error
		if file, second = l.historyByStream(ctx, n, t); second != nil {
			return History{}, errors.Join(err, second)
		}
	}
	return parseHistory(t, file)
}

func (l *links) historyByStream(ctx context.Context, n cluster.Node, t cluster.Timeline) ([]byte, error) {
	a, err := l.access(n)
	if err != nil {
		return nil, err
	}
	s, err := l.open(ctx, n.ID, a, map[string]string{"replication": "database"})
	if err != nil {
		return nil, err
	}
	defer s.close()
	row, err := s.row(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", t), 2)
	if err != nil {
		return nil, err
	}
	return row[1], nil
}
