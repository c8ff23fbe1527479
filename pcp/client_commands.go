package pcp

import (
	"context"
	"fmt"
	"strconv"
)

// What stands for all in the place of a node, a watchdog node or a process.
const (
	AllNodes         = -1
	AllWatchdogNodes = -1
	AllProcesses     = 0
)

// NodeCount is the number of backend nodes.
func (c *Client) NodeCount(ctx context.Context) (int, error) {
	f, err := c.record(ctx, ReplyNodeCount, AppendPacket(nil, TypeNodeCount, nil))
	if err != nil {
		return 0, err
	}
	r := fieldReader{fields: f}
	n := r.integer("node count")
	return int(n), r.err
}

// NodeInfo tells of a node, or of AllNodes.
func (c *Client) NodeInfo(ctx context.Context, id int) (rows []NodeInfo, err error) {
	err = c.array(ctx, ReplyNodeInfo, TagNodeInfo, numbered(TypeNodeInfo, id), func(f []string) error {
		n, err := decodeNodeInfo(f)
		rows = append(rows, n)
		return err
	})
	return rows, err
}

// HealthCheckStats tells of a node.
func (c *Client) HealthCheckStats(ctx context.Context, id int) (HealthCheckStats, error) {
	f, err := c.record(ctx, ReplyHealthCheckStats, numbered(TypeHealthCheckStats, id))
	if err != nil {
		return HealthCheckStats{}, err
	}
	return decodeHealthCheckStats(f)
}

// PoolStatus is the content of SHOW pool_status.
func (c *Client) PoolStatus(ctx context.Context) (rows []Parameter, err error) {
	request := AppendPacket(nil, TypePoolStatus, nil)
	err = c.array(ctx, ReplyPoolStatus, TagProcessConfig, request, func(f []string) error {
		r := fieldReader{fields: f}
		rows = append(rows, Parameter{r.text(), r.text(), r.text()})
		return r.err
	})
	return rows, err
}

// Processes are the numbers of the workers.
func (c *Client) Processes(ctx context.Context) (pids []int, err error) {
	f, err := c.record(ctx, ReplyProcCount, AppendPacket(nil, TypeProcCount, nil))
	if err != nil {
		return nil, err
	}
	r := fieldReader{fields: f}
	if n := r.integer("process count"); r.err == nil && int(n) != len(r.fields) {
		return nil, fmt.Errorf("%w: %d processes of %d", ErrBadResponse, len(r.fields), n)
	}
	for r.err == nil && len(r.fields) > 0 {
		pids = append(pids, int(r.integer("process")))
	}
	return pids, r.err
}

// ProcessInfo tells of the connections of a worker, or of AllProcesses.
func (c *Client) ProcessInfo(ctx context.Context, pid int) (rows []ProcessInfo, err error) {
	err = c.array(ctx, ReplyProcInfo, TagProcessInfo, numbered(TypeProcInfo, pid), func(f []string) error {
		p, err := decodeProcessInfo(f)
		rows = append(rows, p)
		return err
	})
	return rows, err
}

// WatchdogInfo tells of the pgpool with that pgpool_node_id, or of AllWatchdogNodes.
func (c *Client) WatchdogInfo(ctx context.Context, id int) (WatchdogInfo, error) {
	f, err := c.record(ctx, ReplyWatchdogInfo, numbered(TypeWatchdogInfo, id))
	if err != nil {
		return WatchdogInfo{}, err
	}
	if len(f) == 0 {
		return WatchdogInfo{}, ErrBadResponse
	}
	return decodeWatchdogInfo([]byte(f[0]))
}

// Attach has a node used again.
func (c *Client) Attach(ctx context.Context, id int) error {
	return c.done(ctx, ReplyAttach, numbered(TypeAttach, id))
}

// Detach has a node no longer used; gracefully when no clients are left.
func (c *Client) Detach(ctx context.Context, id int, gracefully bool) error {
	typ := byte(TypeDetach)
	if gracefully {
		typ = TypeDetachGracefully
	}
	return c.done(ctx, ReplyDetach, numbered(typ, id))
}

// Promote makes a node the primary: in the eyes of pgpool alone, or with switchover by having the present primary step down.
func (c *Client) Promote(ctx context.Context, id int, switchover, gracefully bool) error {
	typ, option := byte(TypePromote), byte(PromoteOnly)
	if gracefully {
		typ = TypePromoteGraceful
	}
	if switchover {
		option = PromoteSwitchover
	}
	payload := append([]byte(strconv.Itoa(id)), ' ', 0, option)
	return c.done(ctx, ReplyDetach, AppendPacket(nil, typ, payload))
}

// Recover builds a node from the primary and attaches it, which takes its time.
func (c *Client) Recover(ctx context.Context, id int) error {
	return c.done(ctx, ReplyAttach, numbered(TypeRecovery, id))
}

// Stop has the server, or with cluster those of the whole watchdog cluster, stop.
func (c *Client) Stop(ctx context.Context, mode StopMode, cluster bool) error {
	typ := byte(TypeStop)
	if cluster {
		typ = TypeStopCluster
	}
	return c.done(ctx, ReplyStop, AppendPacket(nil, typ, []byte{byte(mode)}))
}

// Reload has the configuration read again.
func (c *Client) Reload(ctx context.Context, cluster bool) error {
	return c.done(ctx, ReplyReload, AppendPacket(nil, TypeReload, scope(cluster)))
}

// RotateLog has the log go on in another file.
func (c *Client) RotateLog(ctx context.Context, cluster bool) error {
	return c.done(ctx, ReplyRotateLog, AppendPacket(nil, TypeRotateLog, scope(cluster)))
}

// InvalidateQueryCache empties the query cache.
func (c *Client) InvalidateQueryCache(ctx context.Context) error {
	return c.done(ctx, ReplyInvalidateCache, AppendPacket(nil, TypeInvalidateCache, nil))
}

func scope(cluster bool) []byte {
	if cluster {
		return []byte{ScopeCluster}
	}
	return []byte{ScopeLocal}
}
