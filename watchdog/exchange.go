package watchdog

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/watchdog/machine"
)

// What the nodes say to each other outside the machine: commands for all, and their settings, to be compared.

// The first byte of a payload tells what it is; the machine's are JSON objects.
const (
	commandMark = 'C'
	replyMark   = 'R'
	maxSettings = 64 << 10
	settingMark = 'S'
)

// command is meant for every node.
type command struct {
	Number uint64
	Name   string
	Args   map[string]string
}

// reply answers a command; an empty Error is success.
type reply struct {
	Number uint64
	Error  string
}

// remote is what is under way with other nodes.
type remote struct {
	mu      sync.Mutex
	number  uint64                 // guarded by mu
	waiting map[uint64]chan string // guarded by mu
}

// settingsOf are the settings of a node.
type settingsOf struct {
	node   int
	values map[string]string
}

// meshEvents is what the mesh is given.
type meshEvents struct{ w *Watchdog }

func (e meshEvents) Linked(peer int, up bool, why string) {
	e.w.inbox.put(machine.Linked{Peer: peer, Up: up, Why: why})
	if up {
		e.w.mesh.Send(peer, marked(settingMark, e.w.parts.Config.Current().ClusterSettings()))
	}
}

func (e meshEvents) Received(peer int, payload []byte) {
	switch payload[0] {
	case commandMark:
		e.w.heardCommand(peer, payload[1:])
	case replyMark:
		e.w.heardReply(payload[1:])
	case settingMark:
		values := make(map[string]string)
		if len(payload) > maxSettings {
			return
		}
		if json.Unmarshal(payload[1:], &values) == nil {
			e.w.inbox.put(settingsOf{node: peer, values: values})
		}
	default:
		e.w.inbox.put(machine.Received{From: peer, Payload: payload})
	}
}

// Rejected ends a node the others do not want while it has not joined; one that is in the cluster already stays.
func (e meshEvents) Rejected(peer int, reason string) {
	e.w.inbox.put(rejected{peer: peer, reason: reason})
}

type rejected struct {
	peer   int
	reason string
}

func (w *Watchdog) isRejected(r rejected) {
	if w.isReady {
		return
	}
	n := w.cfg.Watchdog.Nodes[r.peer]
	w.fatal = fmt.Errorf("%w by node \"%s:%d\": %s (check the configuration of the watchdog)", ErrRejected, n.Hostname, n.WdPort, r.reason)
}

func marked(mark byte, v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("watchdog: message cannot be written: %v", err))
	}
	return append([]byte{mark}, data...)
}

// commandTime is how long the other nodes may take to say that they have got a command.
const commandTime = 5 * time.Second

// Broadcast has every other node that can be reached carry out a command (manual: pcp programs with --scope=cluster). It returns when all
// have said so; an error if one has not.
func (w *Watchdog) Broadcast(ctx context.Context, name string, args map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	var wait sync.WaitGroup
	errs := make([]error, len(w.cfg.Watchdog.Nodes))
	for id := range w.cfg.Watchdog.Nodes {
		if id != w.self && w.mesh.Reachable(id) {
			wait.Go(func() { errs[id] = w.tell(ctx, id, name, args) })
		}
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Watchdog) tell(ctx context.Context, node int, name string, args map[string]string) error {
	done := make(chan string, 1)
	r := &w.remote
	r.mu.Lock()
	r.number++
	n := r.number
	r.waiting[n] = done
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, n)
	}()
	w.mesh.Send(node, marked(commandMark, command{Number: n, Name: name, Args: args}))
	select {
	case text := <-done:
		if text != "" {
			return fmt.Errorf("node %q: %s", w.nameOf(node), text)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %q did not answer: %w", w.nameOf(node), context.Cause(ctx))
	}
}

func (w *Watchdog) heardCommand(peer int, data []byte) {
	var c command
	if err := json.Unmarshal(data, &c); err != nil {
		return
	}
	answer := reply{Number: c.Number}
	if err := w.parts.Command(c.Name, maps.Clone(c.Args)); err != nil {
		answer.Error = err.Error()
	}
	w.mesh.Send(peer, marked(replyMark, answer))
}

func (w *Watchdog) heardReply(data []byte) {
	var a reply
	if err := json.Unmarshal(data, &a); err != nil {
		return
	}
	w.remote.mu.Lock()
	defer w.remote.mu.Unlock()
	if c := w.remote.waiting[a.Number]; c != nil {
		c <- a.Error
		delete(w.remote.waiting, a.Number)
	}
}

// compareSettings warns, on the leader, of parameters that a standby which has just joined has set otherwise (manual: configurations must
// be the same on all nodes).
func (w *Watchdog) compareSettings(s *snapshot) {
	for id := range s.Nodes {
		follows := s.Standing == machine.Leads && s.Nodes[id].Follows
		there := w.settings[id]
		if !follows || there == nil {
			if !follows {
				delete(w.compared, id)
			}
			continue
		}
		if w.compared[id] {
			continue
		}
		w.compared[id] = true
		for _, d := range conf.CompareClusterSettings(w.parts.Config.Current().ClusterSettings(), there) {
			message, detail := d.Texts(s.Nodes[id].Name)
			w.log.Log(logging.Event{Severity: logging.Warning, Message: message, Detail: detail})
		}
	}
}
