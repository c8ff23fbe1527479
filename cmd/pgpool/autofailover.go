package main

import (
	"errors"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/failover"
	"gopgpool/replication"
)

// newKeeper makes what acts on the servers without scripts. office tells whether this pgpool does, host finds who acts on a node's host.
func (p *parts) newKeeper(
	office func() (cluster.Term, bool), host func(cluster.Node) (replication.Host, error),
) *replication.Keeper {
	return replication.New(replication.Parts{
		Store: p.store, Settings: func() replication.Settings { return keeperSettings(p.live.Current()) },
		Office: office, Host: host, Password: p.internalPassword, TLS: p.tls.Server, Log: p.partLog("replication"),
		Spared: func() cluster.NodeID { return p.recoverer.Recovering() },
		Attach: func(id cluster.NodeID, v *cluster.View) {
			p.coord.Report(failover.Attach{Node: id, Origin: failover.ByAutoFailback, Seen: v})
		},
		Detach: func(id cluster.NodeID, v *cluster.View) {
			p.coord.Report(failover.Detach{
				Nodes: []cluster.NodeID{id}, Origin: failover.ByHealthCheck, Seen: v, Err: errDiverged,
			})
		},
	})
}

var errDiverged = errors.New("it has replayed what the primary does not have")

// keeperSettings are those of the keeper. Without a recovery_user it logs in as sr_check_user.
func keeperSettings(c *conf.Config) replication.Settings {
	s := replication.Settings{
		Active: c.Failover.WithoutScripts() && c.BackendClusteringMode == conf.ModeStreamingReplication,
		Account: replication.Account{
			User: c.Recovery.RecoveryUser, Password: c.Recovery.RecoveryPassword, Database: c.Recovery.RecoveryDatabase,
		},
		ReplicationUser: c.Failover.ReplicationUser, ReplicationPassword: c.Failover.ReplicationPassword,
		Fencing: c.Agent.Fencing, Lease: c.Agent.LeaseTime,
	}
	if c.Watchdog.UseWatchdog {
		s.Others = c.Watchdog.Lease()
	}
	if s.Account.User == "" {
		s.Account.User, s.Account.Password = c.StreamingCheck.SrCheckUser, c.StreamingCheck.SrCheckPassword
	}
	return s
}
