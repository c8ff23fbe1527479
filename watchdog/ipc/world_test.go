package ipc

import (
	"errors"
	"fmt"
	"sync"
)

// world is a watchdog of three nodes: this one is 1, the leader is 0, and 2 was never seen. It keeps what it is told.
type world struct {
	mu   sync.Mutex
	told []string
}

func (w *world) Cluster() Cluster {
	c := Cluster{
		Remote: 2, MemberRemote: 2, RequiredForQuorum: 2, Quorum: QuorumExists, AliveRemote: 1,
		LeaderName: "127.0.0.1:21211 Linux vm", LeaderHost: "127.0.0.1",
		Nodes: []Node{
			{ID: 2, Host: "127.0.0.1", WdPort: 21232, PgpoolPort: 21212},
			{ID: 1, State: 4, Name: "127.0.0.1:21211 Linux vm", Host: "127.0.0.1", WdPort: 21231, PgpoolPort: 21211, Priority: 1},
			{ID: 0, State: 7, Name: "127.0.0.1:21210 Linux vm", Host: "127.0.0.1", WdPort: 21230, PgpoolPort: 21210, Priority: 1},
		},
	}
	LocalFirst(c.Nodes, 0)
	return c
}

func (w *world) StatusChange(node int, dead bool, message string) error {
	if node < 0 || node > 2 {
		return errors.New("invalid Node ID in the event")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf("%d dead=%t %q", node, dead, message))
	return nil
}

func (w *world) Variable(name string) (any, bool) {
	switch name {
	case VariableState:
		return 7, true
	case VariableQuorum:
		return -2, true
	case VariableEscalated:
		return true, true
	case "a long":
		return int64(1 << 40), true
	case "a string":
		return "x\"\n", true
	}
	return nil, false
}

func (w *world) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.told...)
}
