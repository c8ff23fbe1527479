package show

import (
	"errors"
	"strings"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// Error is the answer to a PGPOOL command that cannot be carried out: an ErrorResponse with severity ERROR. The session goes
// on. Where Pgpool-II sends XX000 the state is the one PostgreSQL has for the case.
type Error struct {
	State                 string
	Message, Detail, Hint string
}

func (e *Error) Error() string { return e.Message }

// SQLState is the code the client is told.
func (e *Error) SQLState() string { return e.State }

// The SQLSTATEs of PGPOOL SHOW, SET and RESET.
const (
	stateUndefinedObject  = "42704" // no such parameter
	stateCannotChange     = "55P02" // not settable in a session
	stateInvalidParameter = "22023" // bad value or index
)

// paramError turns an error of conf into the client's. Conf words three cases of its own; everything else is about a value.
func paramError(err error) error {
	var se *conf.SettingError
	if !errors.As(err, &se) {
		return err
	}
	state := stateInvalidParameter
	switch {
	case strings.HasPrefix(se.Message, "config variable "),
		strings.HasPrefix(se.Message, "unrecognized configuration parameter "):
		state = stateUndefinedObject
	case strings.HasPrefix(se.Message, "invalid Context,"):
		state = stateCannotChange
	}
	return &Error{State: state, Message: se.Message, Detail: se.Detail, Hint: se.Hint}
}

// Parameter answers PGPOOL SHOW name. C is the configuration as the session sees it. Errors are of type *Error.
func Parameter(c *conf.Config, name string) (Result, error) {
	shown, err := c.Show(name)
	if err != nil {
		return Result{}, paramError(err)
	}
	if !shown.Table {
		one := shown.Items[0]
		return table([]string{one.Name}, [][]string{{one.Value}}), nil
	}
	return items(shown.Items), nil
}

// Set carries out PGPOOL SET name TO value, or with toDefault TO DEFAULT. Errors are of type *Error and change nothing.
func Set(s *conf.SessionSettings, name, value string, toDefault bool) (Result, error) {
	err := error(nil)
	if toDefault {
		err = s.Reset(name)
	} else {
		err = s.Set(name, value)
	}
	if err != nil {
		return Result{}, paramError(err)
	}
	return Result{Tag: "SET"}, nil
}

// Reset carries out PGPOOL RESET name, whose tag is SET as in Pgpool-II, or for the name "all" PGPOOL RESET ALL. Errors are of
// type *Error and change nothing.
func Reset(s *conf.SessionSettings, name string) (Result, error) {
	if name == "all" {
		s.ResetAll()
		return Result{Tag: "RESET"}, nil
	}
	if err := s.Reset(name); err != nil {
		return Result{}, paramError(err)
	}
	return Result{Tag: "SET"}, nil
}

// PoolStatus answers SHOW pool_status. The query cache's part of the answer is the zero value while there is none.
func PoolStatus(c *conf.Config, v *cluster.View, g *cluster.Gauges, cache Cache, cacheSince time.Time) Result {
	r := conf.Runtime{CacheStatsStart: cacheSince, CacheHits: cache.Hits, CacheMisses: cache.Selects}
	for i := range v.Nodes {
		gauge := g.Of(cluster.NodeID(i))
		behind := int64(gauge.Lag)
		if gauge.HasLagTime {
			behind = gauge.LagTime.Microseconds()
		}
		r.BackendStatus = append(r.BackendStatus, v.Nodes[i].Status.String())
		r.StandbyDelay = append(r.StandbyDelay, behind)
	}
	return items(c.PoolStatus(r))
}

// items is the table of parameters.
func items(list []conf.Item) Result {
	rows := make([][]string, len(list))
	for i, item := range list {
		rows[i] = []string{item.Name, item.Value, item.Description}
	}
	return table([]string{"item", "value", "description"}, rows)
}
