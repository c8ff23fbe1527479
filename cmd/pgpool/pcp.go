package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"gopgpool/cluster"
	"gopgpool/failover"
	"gopgpool/logging"
	"gopgpool/pcp"
	"gopgpool/proxy"
	"gopgpool/proxy/show"
	"gopgpool/recovery"
)

// openPCP makes the server of the pcp_* programs and opens its sockets.
func (p *parts) openPCP() (err error) {
	c := p.live.Current()
	if p.pcpSockets, err = listenPCP(&c.Connections, p.log); err != nil {
		return err
	}
	listeners, err := p.pcpSockets.take()
	if err != nil {
		return err
	}
	p.pcp = pcp.NewServer(pcp.Parts{
		Control: administration{p: p, signal: signalSelf}, PasswordFile: p.opts.PcpFile, Listeners: listeners, Log: p.log,
		Settings: func() pcp.Settings {
			c := p.live.Current()
			return pcp.Settings{
				AuthenticationTimeout: c.Auth.AuthenticationTimeout, LogProcesses: c.Logging.LogPcpProcesses,
				NodeInfo: c.Connections.PcpNodeInfoLayout,
			}
		},
	})
	return nil
}

// servePCP answers administrators once clients are served: they are told of nothing that is still being found out.
func (p *parts) servePCP(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
	case <-ctx.Done():
	}
	return p.pcp.Run(ctx)
}

func signalSelf(sig syscall.Signal) error { return syscall.Kill(os.Getpid(), sig) }

// administration does what the pcp_* programs ask for.
type administration struct {
	p      *parts
	signal func(syscall.Signal) error // to this process
}

func (a administration) Attach(_ context.Context, id cluster.NodeID) error {
	return told(a.p.coord.Submit(failover.Attach{Node: id, Origin: failover.ByOperator}))
}

func (a administration) Detach(ctx context.Context, id cluster.NodeID, settled bool) error {
	return a.change(ctx, detachment(id), settled)
}

func (a administration) CheckDetach(id cluster.NodeID) error {
	return told(a.p.coord.Check(detachment(id)))
}

func detachment(id cluster.NodeID) failover.Detach {
	return failover.Detach{Nodes: []cluster.NodeID{id}, Origin: failover.ByOperator}
}

func (a administration) Promote(
	ctx context.Context, id cluster.NodeID, switchover, settled bool, progress func(string),
) error {
	if switchover && a.p.switchesAlone() {
		return told(a.p.switchover(ctx, id, func(s cluster.Switchover) {
			if text := proxy.SwitchoverPhase(s); text != "" {
				progress(text)
			}
		}))
	}
	return a.change(ctx, failover.Promote{Node: id, Switchover: switchover}, settled)
}

func (a administration) CheckPromote(id cluster.NodeID, switchover bool) error {
	if switchover && a.p.switchesAlone() {
		return told(a.p.coord.Check(failover.Switchover{Node: id}))
	}
	return told(a.p.coord.Check(failover.Promote{Node: id, Switchover: switchover}))
}

func (a administration) change(ctx context.Context, r failover.Request, settled bool) error {
	if err := told(a.p.coord.Submit(r)); err != nil || !settled {
		return err
	}
	return a.p.coord.Settle(ctx)
}

// Quiesce keeps clients out and waits for those who are in to leave (manual: recovery_timeout).
func (a administration) Quiesce(ctx context.Context) (resume func(), err error) {
	timeout := a.p.live.Current().Recovery.RecoveryTimeout
	ctx, cancel := context.WithTimeout(ctx, timeout) // 0: a single look
	defer cancel()
	resume, err = a.p.proxy.Quiesce(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &pcp.Error{
			Message: "clients are still connected, nothing was changed",
			Detail:  fmt.Sprintf("waited for %d seconds (recovery_timeout)", int(timeout/time.Second)),
		}
	}
	return resume, err
}

// told is a refusal of failover as the client is told it.
func told(err error) error {
	if refused := (*failover.Refusal)(nil); errors.As(err, &refused) {
		return &pcp.Error{Fatal: refused.Fatal, Message: refused.Message, Detail: refused.Detail}
	}
	if ended := (*proxy.SwitchoverError)(nil); errors.As(err, &ended) {
		return &pcp.Error{Message: ended.Message, Detail: ended.Detail}
	}
	return err
}

func (a administration) Recover(ctx context.Context, id cluster.NodeID) error {
	err := a.p.recoverer.Recover(ctx, id)
	if failed := (*recovery.Error)(nil); errors.As(err, &failed) {
		return &pcp.Error{Fatal: failed.Fatal, Message: failed.Message, Detail: failed.Detail}
	}
	return err
}

// Stop stops the daemon the way everybody does, by a signal.
func (a administration) Stop(mode pcp.StopMode) error {
	switch mode {
	case pcp.StopFast:
		return a.signal(StopFast.signal())
	case pcp.StopImmediate:
		return a.signal(StopImmediate.signal())
	case pcp.StopSmart:
	}
	return a.signal(StopSmart.signal())
}

func (a administration) Reload() error { return a.signal(syscall.SIGHUP) }

func (a administration) RotateLog() error {
	err := a.p.out.Rotate()
	if errors.Is(err, logging.ErrNoCollector) {
		return &pcp.Error{Message: "process log rotation request failed", Detail: "logging_collector is disabled"}
	}
	return err
}

func (a administration) InvalidateQueryCache() error {
	return &pcp.Error{Message: "query cache is not enabled"}
}

func (a administration) Cluster() (*cluster.View, *cluster.Gauges) {
	return a.p.store.Current(), a.p.store.Gauges()
}

// Probe hides the nodes that are not asked for, so that a silent one delays nobody who does not care for it.
func (a administration) Probe(ctx context.Context, id cluster.NodeID) []pcp.NodeProbe {
	v := a.p.store.Current()
	if id != cluster.NoNode {
		v = only(v, id)
	}
	said := a.p.prober.Ask(ctx, v, a.p.healthSettings())
	out := make([]pcp.NodeProbe, len(said))
	for i := range said {
		out[i] = pcp.NodeProbe(said[i])
	}
	return out
}

// only is v with node id alone in use.
func only(v *cluster.View, id cluster.NodeID) *cluster.View {
	one := *v
	one.Nodes = make([]cluster.Node, len(v.Nodes))
	if id >= 0 && int(id) < len(v.Nodes) {
		one.Nodes[id] = v.Nodes[id]
	}
	return &one
}

func (a administration) HealthCheckStats() [][]string {
	return show.PoolHealthCheckStats(a.p.store.Current(), a.p.store.Gauges()).Rows
}

func (a administration) Processes(ctx context.Context) []int {
	workers, _ := a.p.proxy.Workers(ctx)
	pids := make([]int, len(workers))
	for i := range workers {
		pids[i] = int(workers[i].PID)
	}
	return pids
}

// Pools are the rows of SHOW pool_pools, whose first column is the worker's number.
func (a administration) Pools(ctx context.Context) []pcp.Pool {
	_, slots := a.p.proxy.Workers(ctx)
	rows := show.PoolPools(slots).Rows
	pools := make([]pcp.Pool, len(rows))
	for i, row := range rows {
		pools[i] = pcp.Pool{PID: int(slots[i].Process.PID), Fields: row[1:]}
	}
	return pools
}

func (a administration) PoolStatus(context.Context) []pcp.Parameter {
	v, g := a.Cluster()
	rows := show.PoolStatus(a.p.live.Current(), v, g, show.Cache{}, a.p.started).Rows
	out := make([]pcp.Parameter, len(rows))
	for i, row := range rows {
		out[i] = pcp.Parameter{Name: row[0], Value: row[1], Description: row[2]}
	}
	return out
}
