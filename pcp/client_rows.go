package pcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// NodeInfo is what is known of a backend node.
type NodeInfo struct {
	Host             string
	Port             int
	Status           int // 0 unused, 1 waiting, 2 up, 3 down
	Quarantine       bool
	BackendStatus    string  // what the server said: "up", "down", "unknown"
	Weight           float64 // share of all, 0 to 1
	Role             int     // 0 main, 1 replica, 2 primary, 3 standby
	BackendRole      string
	DelayByTime      bool
	Delay            int64 // bytes, with DelayByTime microseconds
	ReplicationState string
	SyncState        string
	LastStatusChange time.Time
}

// HealthCheckStats is the record of a node's health check. Durations are milliseconds, times as the server wrote them, "" for never.
type HealthCheckStats struct {
	NodeID                                        int64
	Host                                          string
	Port                                          int64
	Status, Role, LastStatusChange                string
	Total, Success, Fail, Skip, Retry             int64
	AverageRetry                                  float64
	MaxRetry, MaxDuration, MinDuration            int64
	AverageDuration                               float64
	LastCheck, LastSuccess, LastSkip, LastFailure string
}

// ProcessInfo is a connection that a worker keeps to a node, or the place for one where Database is empty. Times and durations are
// as the server wrote them, with remarks in parentheses.
type ProcessInfo struct {
	PID                       int64
	StartTime                 string
	Clients                   int64 // of the worker so far
	PoolID, BackendID         int64
	Database, User            string
	BackendConnected          string
	ClientConnected           string
	ClientDisconnected        string
	ClientIdle                string
	Major, Minor              int64
	PoolCounter               int64
	BackendPID                int64
	Connected                 bool
	Status                    string
	LoadBalanceNode           bool   // from 4.5 on
	ClientHost, ClientPort    string // from 4.7 on
	Statement                 string // likewise
	HasLoadBalance, HasClient bool   // the server tells the above
}

// WatchdogInfo is the state of the watchdog cluster.
type WatchdogInfo struct {
	RemoteNodeCount       int
	MemberRemoteNodeCount int // -1 if the server does not tell
	NodesRequireForQuorum int // likewise
	QuorumStatus          int // 1 exists, 0 on the edge, -1 absent, -2 no leader
	AliveNodeCount        int // of the remote nodes
	Escalated             int
	LeaderNodeName        string
	LeaderHostName        string
	WatchdogNodes         []WatchdogNode
}

// WatchdogNode is a pgpool of the watchdog cluster.
type WatchdogNode struct {
	ID               int
	State            int
	Membership       int
	MembershipString string
	NodeName         string
	HostName         string
	StateName        string
	DelegateIP       string
	WdPort           int
	PgpoolPort       int
	Priority         int
}

// fieldReader takes the fields of a row in their order and keeps the first error.
type fieldReader struct {
	fields []string
	err    error
}

func (r *fieldReader) text() string {
	if len(r.fields) == 0 {
		if r.err == nil {
			r.err = fmt.Errorf("%w: fields are missing", ErrBadResponse)
		}
		return ""
	}
	s := r.fields[0]
	r.fields = r.fields[1:]
	return s
}

func (r *fieldReader) integer(what string) int64 {
	s := r.text()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %s is %q", ErrBadResponse, what, s)
	}
	return n
}

func (r *fieldReader) float(what string) float64 {
	s := r.text()
	x, err := strconv.ParseFloat(s, 64)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %s is %q", ErrBadResponse, what, s)
	}
	return x
}

// decodeNodeInfo knows the layouts apart by their length: 11 fields in 4.3.0, 12 since 4.3.1 with quarantine, 13 since 4.4 with delay
// by time.
func decodeNodeInfo(f []string) (NodeInfo, error) {
	const without, quarantine, delayByTime = 11, 12, 13
	if len(f) < without || len(f) > delayByTime {
		return NodeInfo{}, fmt.Errorf("%w: node information of %d fields", ErrBadResponse, len(f))
	}
	r := fieldReader{fields: f}
	n := NodeInfo{Host: r.text(), Port: int(r.integer("port")), Status: int(r.integer("status"))}
	if len(f) >= quarantine {
		n.Quarantine = r.integer("quarantine") != 0
	}
	n.BackendStatus = r.text()
	n.Weight = r.float("weight") / weightScale
	n.Role, n.BackendRole = int(r.integer("role")), r.text()
	if len(f) >= delayByTime {
		n.DelayByTime = r.integer("delay by time") != 0
	}
	n.Delay = r.integer("replication delay")
	n.ReplicationState, n.SyncState = r.text(), r.text()
	n.LastStatusChange = time.Unix(r.integer("last status change"), 0)
	return n, r.err
}

func decodeHealthCheckStats(f []string) (HealthCheckStats, error) {
	r := fieldReader{fields: f}
	h := HealthCheckStats{
		NodeID: r.integer("node id"), Host: r.text(), Port: r.integer("port"), Status: r.text(), Role: r.text(), LastStatusChange: r.text(),
		Total: r.integer("total count"), Success: r.integer("success count"), Fail: r.integer("fail count"),
		Skip: r.integer("skip count"), Retry: r.integer("retry count"), AverageRetry: r.float("average retry count"),
		MaxRetry: r.integer("max retry count"), MaxDuration: r.integer("max duration"), MinDuration: r.integer("min duration"),
		AverageDuration: r.float("average duration"), LastCheck: r.text(), LastSuccess: r.text(), LastSkip: r.text(), LastFailure: r.text(),
	}
	return h, r.err
}

func decodeProcessInfo(f []string) (ProcessInfo, error) {
	r := fieldReader{fields: f}
	p := ProcessInfo{
		PID: r.integer("process"), StartTime: r.text(), Clients: r.integer("client count"), PoolID: r.integer("pool"),
		BackendID: r.integer("backend"), Database: r.text(), User: r.text(), BackendConnected: r.text(), ClientConnected: r.text(),
		ClientDisconnected: r.text(), ClientIdle: r.text(), Major: r.integer("major"), Minor: r.integer("minor"),
		PoolCounter: r.integer("pool counter"), BackendPID: r.integer("backend pid"), Connected: r.integer("connected") != 0,
		Status: r.text(),
	}
	if len(r.fields) >= 1 {
		p.HasLoadBalance, p.LoadBalanceNode = true, r.text() == "1"
	}
	if len(r.fields) >= 3 {
		p.HasClient, p.ClientHost, p.ClientPort, p.Statement = true, r.text(), r.text(), r.text()
	}
	return p, r.err
}

// decodeWatchdogInfo reads the document of the watchdog. Releases before 4.3 leave out the size of the quorum and the membership, those
// before 4.2 call the leader master.
func decodeWatchdogInfo(document []byte) (WatchdogInfo, error) {
	w := struct {
		WatchdogInfo
		MasterNodeName, MasterHostName *string
	}{WatchdogInfo: WatchdogInfo{MemberRemoteNodeCount: -1, NodesRequireForQuorum: -1}}
	err := requireKeys(document, "RemoteNodeCount", "QuorumStatus", "AliveNodeCount", "Escalated", "NodeCount", "WatchdogNodes")
	if err == nil {
		err = json.Unmarshal(document, &w)
	}
	switch old := w.MasterNodeName != nil && w.MasterHostName != nil; {
	case err == nil && old:
		w.LeaderNodeName, w.LeaderHostName = *w.MasterNodeName, *w.MasterHostName
	case err == nil:
		err = requireKeys(document, "LeaderNodeName", "LeaderHostName")
	}
	if err != nil {
		return WatchdogInfo{}, fmt.Errorf("%w: watchdog information: %w", ErrBadResponse, err)
	}
	return w.WatchdogInfo, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (n *WatchdogNode) UnmarshalJSON(document []byte) error {
	type plain WatchdogNode // without this method
	p := plain{MembershipString: "NOT-Available"}
	err := requireKeys(document, "ID", "State", "NodeName", "HostName", "StateName", "DelegateIP", "WdPort", "PgpoolPort", "Priority")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(document, &p); err != nil {
		return err
	}
	*n = WatchdogNode(p)
	return nil
}

func requireKeys(document []byte, keys ...string) error {
	var got map[string]json.RawMessage
	if err := json.Unmarshal(document, &got); err != nil {
		return err
	}
	for _, k := range keys {
		if _, ok := got[k]; !ok {
			return errors.New("no " + k)
		}
	}
	return nil
}
