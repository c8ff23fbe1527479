package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/failover"
	"gopgpool/logging"
	"gopgpool/pcp"
	"gopgpool/proxy/show"
	"gopgpool/watchdog"
	"gopgpool/watchdog/ipc"
	"gopgpool/watchdog/machine"
)

// This file joins the watchdog to the other parts.

// openWatchdog makes the watchdog where one is configured.
func (p *parts) openWatchdog() (err error) {
	c := p.live.Current()
	if !c.Watchdog.UseWatchdog {
		return nil
	}
	p.watchdog, err = watchdog.New(watchdog.Parts{
		Config: p.live, Backends: backends{p}, Command: p.clusterCommand, Password: p.internalPassword, Pause: p.pauseLifecheck,
		VoteExpiry: voteExpiry, Fresh: p.opts.DiscardStatus, Log: p.partLog("watchdog"),
	})
	return err
}

// consensus is by what nodes agree; nil without a watchdog.
func (p *parts) consensus() failover.Consensus {
	if !p.live.Current().Watchdog.UseWatchdog {
		return nil
	}
	return agreement{p}
}

// awaitWatchdog waits until the watchdog knows what this node is; false if ctx ended before.
func (p *parts) awaitWatchdog(ctx context.Context) bool {
	if p.watchdog == nil {
		return true
	}
	p.log.Log(logging.Event{Severity: logging.Log, Message: "waiting for watchdog to initialize"})
	select {
	case <-p.watchdog.Ready():
	case <-ctx.Done():
		return false
	}
	p.log.Log(logging.Event{Severity: logging.Log, Message: "watchdog process is initialized", Detail: "watchdog messaging data version: 1.2"})
	return true
}

// pauseLifecheck tells that nobody is to be judged: clients are not served yet, or a node is being rebuilt or changed.
func (p *parts) pauseLifecheck() bool {
	return !p.serving.Load() || p.recoverer.Recovering() != cluster.NoNode || p.store.Current().Op != cluster.OpNone
}

// leave takes this node out of the watchdog cluster in good order before it stops.
func (p *parts) leave() {
	if p.watchdog == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	p.watchdog.Leave(ctx)
}

// leaveTime bounds how long a stop waits for wd_de_escalation_command and for the other nodes.
const leaveTime = 8 * time.Second

// clusterCommand carries out what another node was told for all (pcp programs with the scope cluster).
func (p *parts) clusterCommand(name string, args map[string]string) error {
	a := administration{p: p, signal: signalSelf}
	switch pcp.ClusterCommand(name) {
	case pcp.ClusterStop:
		mode := args["mode"]
		if len(mode) != 1 {
			return fmt.Errorf("invalid shutdown mode %q", mode)
		}
		return a.Stop(pcp.StopMode(mode[0]))
	case pcp.ClusterReload:
		return a.Reload()
	case pcp.ClusterRotateLog:
		return a.RotateLog()
	}
	return fmt.Errorf("unknown command %q", name)
}

// backends is the coordinator as the watchdog sees it.
type backends struct{ p *parts }

func (b backends) Hold(o watchdog.Office) {
	standing := map[machine.Standing]failover.Standing{
		machine.Loading: failover.StandingLoading, machine.Alone: failover.StandingAlone,
		machine.Follows: failover.StandingFollows, machine.Leads: failover.StandingLeads,
	}[o.Standing]
	b.p.coord.Hold(failover.Office{Standing: standing, Term: o.Term, Leader: o.Leader, Fresh: o.Fresh})
}

func (b backends) Decided(seq uint64, data []byte) { b.p.coord.Decided(seq, data) }
func (b backends) Resend()                         { b.p.coord.Resend() }
func (b backends) Execute(ctx context.Context, request []byte) []byte {
	return b.p.coord.Execute(ctx, request)
}

// agreement is the watchdog as the coordinator sees it.
type agreement struct{ p *parts }

func (a agreement) Ask(ctx context.Context, q failover.Ask) (failover.Answer, error) {
	answer, err := a.p.watchdog.Ask(ctx, machine.Ask(q))
	return failover.Answer{Result: failover.Result(answer.Result), Votes: answer.Votes, Reply: answer.Reply}, err
}

func (a agreement) Commit(ctx context.Context, decision []byte) error {
	err := a.p.watchdog.Commit(ctx, decision)
	if errors.Is(err, watchdog.ErrNotLeader) {
		return failover.ErrNotLeader
	}
	return err
}

func (a agreement) Await(ctx context.Context) error { return a.p.watchdog.Await(ctx) }
func (a agreement) Carried(seq uint64)              { a.p.watchdog.Carried(seq) }
func (a agreement) Resign(why string)               { a.p.watchdog.Resign(why) }

func (a administration) Elsewhere(ctx context.Context, c pcp.ClusterCommand, mode pcp.StopMode) error {
	if a.p.watchdog == nil {
		return nil
	}
	args := map[string]string{}
	if mode != 0 {
		args["mode"] = string(rune(mode))
	}
	if err := a.p.watchdog.Broadcast(ctx, string(c), args); err != nil {
		return &pcp.Error{Message: "PCP: error while processing the request for all nodes", Detail: err.Error()}
	}
	return nil
}

func (a administration) Watchdog(id int) (string, error) {
	if a.p.watchdog == nil {
		return "", &pcp.Error{Message: "PCP: informing watchdog info failed", Detail: "watchdog is not enabled"}
	}
	return string(ipc.EncodeNodes(a.p.watchdog.Cluster(), id)), nil
}

// showWatchdog is the content of SHOW pool_watchdog.
func (p *parts) showWatchdog() show.Watchdog {
	if p.watchdog == nil {
		return show.Watchdog{}
	}
	s, c := p.watchdog.Snapshot(), p.watchdog.Cluster()
	out := show.Watchdog{Enabled: true}
	for _, n := range c.Nodes {
		is := s.Nodes[n.ID]
		row := show.WatchdogRow{
			NodeID: n.ID, Host: n.Host, PgpoolPort: n.PgpoolPort, WdPort: n.WdPort, State: n.StateName, Role: shownRole(&s, n.ID),
			Priority: n.Priority, Term: s.Term, Leader: s.Leader, Quorum: int(s.Quorum), Membership: n.MembershipName,
		}
		if n.ID == s.Self {
			p.showOwn(&row, &s)
		} else if is.Heard != 0 {
			row.LastHeard = time.Now().Add(is.Heard - s.At)
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

func (p *parts) showOwn(row *show.WatchdogRow, s *watchdog.Snapshot) {
	row.Reason = s.Reason
	if s.LeaseEnd > s.At {
		row.HasLease, row.LeaseLeft = true, s.LeaseEnd-s.At
	}
	switch {
	case !s.VIP:
	case s.Held:
		row.VIP = show.AddressHeld
	default:
		row.VIP = show.AddressNotHeld
	}
}

// shownRole is what part a node has in the consensus.
func shownRole(s *watchdog.Snapshot, id int) string {
	switch role := s.Nodes[id].Role; {
	case id == s.Leader && s.Standing != machine.Alone:
		return "leader"
	case role == "voter":
		return "standby"
	default:
		return role
	}
}
