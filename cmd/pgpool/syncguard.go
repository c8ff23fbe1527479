package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/failover"
	"gopgpool/health"
	"gopgpool/syncguard"
)

// newSyncGuard makes what looks after the synchronous standbys.
func (p *parts) newSyncGuard() *syncguard.Guard {
	return syncguard.New(syncguard.Parts{
		Store: p.store, Office: p.office, Servers: guardServers{p}, Bar: p.bar, Recorded: p.coord.Kept, Log: p.partLog("sync_standby_guard"),
		Settings: func() syncguard.Settings {
			c := p.live.Current()
			return syncguard.Settings{
				On:      c.Failover.SyncStandbyGuard && c.BackendClusteringMode == conf.ModeStreamingReplication,
				Restore: c.Failover.WithoutScripts(),
				Every:   c.Failover.SyncStandbyKeepaliveTime, Count: c.Failover.SyncStandbyKeepaliveCount,
				Told: c.StreamingCheck.SrCheckPeriod,
			}
		},
	})
}

// bar has it recorded whether a node must not be promoted, and waits until that is in force.
func (p *parts) bar(ctx context.Context, id cluster.NodeID, unfit bool) error {
	done := make(chan struct{}, 1)
	holds := func(v *cluster.View) bool { return int(id) < len(v.Nodes) && v.Nodes[id].Unfit == unfit }
	stop := p.store.Watch(func(v *cluster.View) {
		if holds(v) {
			select {
			case done <- struct{}{}:
			default:
			}
		}
	})
	defer stop()
	if err := p.coord.Submit(failover.Bar{Node: id, Unfit: unfit}); err != nil {
		return err
	}
	if err := p.coord.Settle(ctx); err != nil { // it is on disk, too
		return err
	}
	if holds(p.store.Current()) {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it is not in force so far: %w", context.Cause(ctx))
	}
}

// guardServers reaches the servers for the guard.
type guardServers struct{ p *parts }

func guardParams() map[string]string {
	return map[string]string{"application_name": "pgpool sync_standby_guard"}
}

// Ping takes a server that lets nobody in but says so for one that answers.
func (g guardServers) Ping(ctx context.Context, n cluster.Node) error {
	c := g.p.live.Current()
	conn, err := g.p.prober.Connect(ctx, n, health.Login{
		User: c.StreamingCheck.SrCheckUser, Password: c.StreamingCheck.SrCheckPassword, Database: c.StreamingCheck.SrCheckDatabase,
		ConnectTimeout: c.HealthCheck.Global.ConnectTimeout,
	}, guardParams())
	if known := (*health.Error)(nil); errors.As(err, &known) && known.Trouble == health.Rejected {
		return nil
	}
	if err != nil {
		return err
	}
	defer guardSession{conn}.Close()
	_, err = conn.Rows(ctx, "SELECT 1")
	return err
}

// Open logs in as the user who acts on servers: recovery_user or, without one, sr_check_user.
func (g guardServers) Open(ctx context.Context, n cluster.Node) (syncguard.Session, error) {
	c := g.p.live.Current()
	account := keeperSettings(c).Account
	conn, err := g.p.prober.Connect(ctx, n, health.Login{
		User: account.User, Password: account.Password, Database: account.Database, ConnectTimeout: c.HealthCheck.Global.ConnectTimeout,
	}, guardParams())
	if err != nil {
		return nil, err
	}
	return guardSession{conn}, nil
}

// closeBound bounds how long a goodbye may take.
const closeBound = time.Second

type guardSession struct{ *health.Conn }

// Close ends the session; whether the server heard it makes no difference.
func (s guardSession) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeBound)
	defer cancel()
	_ = s.Conn.Close(ctx)
}
