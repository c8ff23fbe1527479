package replication

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/replication/conninfo"
)

const (
	// startBound is how long a remedy waits until a server accepts connections; it may have much to replay. Then it is left to itself.
	startBound = 10 * time.Minute
	// slowStart is after how long it is told that a server is still starting, and slowAgain how often from then on.
	slowStart = 15 * time.Second
	slowAgain = time.Minute
	// vainStart is how long a start is waited for that does not get what it needs from the primary.
	vainStart = 30 * time.Second
)

var (
	// errNoStart is a server that was put in order and ended while it was starting: its files may be bad.
	errNoStart = errors.New("it does not start")
	// errLeft is a server that has not ended and does not accept connections. It goes on, and nobody waits for it.
	errLeft = errors.New("it is waited for no longer")
)

// watch is what a remedy under way tells to Run's goroutine.
type watch struct {
	led     atomic.Pointer[cluster.Source] // what its host was told last to stream from; nil: nothing
	waiting atomic.Bool                    // it waits for the server to accept connections
}

// startBy starts the server, and waits until it accepts connections, has ended, or is left to itself.
func (r *remedy) startBy(ctx context.Context, h Host) error {
	bounded, cancel := context.WithTimeoutCause(ctx, startBound, errLeft)
	defer cancel()
	r.watch.waiting.Store(true)
	defer r.watch.waiting.Store(false)
	err := h.Start(bounded, r.term)
	switch {
	case err == nil:
		return nil
	case bounded.Err() != nil:
		return context.Cause(bounded)
	case errors.Is(err, cluster.ErrEnded):
		return fmt.Errorf("%w: %w", errNoStart, err)
	}
	return err
}

// startClock is how long a server has been starting.
type startClock struct {
	pid         int
	since, told time.Time
}

// due reports whether to tell of it now.
func (c *startClock) due(now time.Time) bool {
	return now.Sub(c.since) >= slowStart && (c.told.IsZero() || now.Sub(c.told) >= slowAgain)
}

// timeStarts completes the facts about servers that are starting, and tells of those that take long.
func (k *Keeper) timeStarts(f *Facts, now time.Time) {
	for i := range f.Nodes {
		at, id := &f.Nodes[i], cluster.NodeID(i)
		if at.State.Err == nil {
			at.Unled = k.misled(f, id)
		}
		if at.State.Err == nil || at.ControlErr != nil || !at.Control.Running || !at.Control.Starting {
			delete(k.starts, id)
			continue
		}
		c := k.starts[id]
		if c == nil || c.pid != at.Control.PID {
			c = &startClock{pid: at.Control.PID, since: now}
			k.starts[id] = c
		}
		at.Starting, at.Unled = now.Sub(c.since), k.unled(f, id)
		if c.due(now) {
			c.told = now
			k.tell(id, logging.Warning, "node %d is still starting after %v: %s", id, at.Starting.Round(time.Second), startText(&at.Control))
		}
	}
}

// startedSoFar tells, behind the error of a start that has not ended, what is known of it.
func startedSoFar(ctx context.Context, h Host) string {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), surveyBound)
	defer cancel()
	if c, err := h.Control(bounded); err == nil && c.Running && c.Starting {
		return "; " + startText(&c)
	}
	return ""
}

// startText is what is known of a start.
func startText(c *cluster.Control) string {
	if c.Says != "" {
		return c.Says
	}
	return fmt.Sprintf("its control file says %q, and its log no reason", c.State)
}

// unled reports whether a server would be told now to stream from somebody else or in another way than it was told last, as far as we know.
func (k *Keeper) unled(f *Facts, id cluster.NodeID) bool {
	if f.primary() == nil || id == f.View.Primary {
		return false
	}
	r := remedy{k: k, f: f, node: f.View.Nodes[id], primary: f.View.Nodes[f.View.Primary]}
	src, err := r.source()
	if err != nil {
		return false
	}
	c := k.courses[id]
	if c == nil || c.remedy == nil {
		return true
	}
	led := c.remedy.watch.led.Load()
	return led == nil || !sameWay(led, &src)
}

// misled reports whether a standby that does not stream logs in as somebody else than it would be told to.
func (k *Keeper) misled(f *Facts, id cluster.NodeID) bool {
	s := &f.Nodes[id].State
	if !s.InRecovery || s.Streaming || s.ConnInfo == "" || f.primary() == nil || id == f.View.Primary {
		return false
	}
	r := remedy{k: k, f: f, node: f.View.Nodes[id], primary: f.View.Nodes[f.View.Primary]}
	user, password, err := r.streamer()
	now, bad := conninfo.Parse(s.ConnInfo)
	next, _ := conninfo.Parse(s.ConnInfo)
	if err = errors.Join(err, bad); err == nil {
		err = next.Follow(cluster.Source{Host: r.primary.Host, Port: r.primary.Port, User: user, Password: password})
	}
	return err == nil && (now.Get("user") != next.Get("user") || now.Get("password") != next.Get("password"))
}

// sameWay reports whether two sources are the same server, logged in to in the same way.
func sameWay(a, b *cluster.Source) bool {
	return a.Host == b.Host && a.Port == b.Port && a.User == b.User && a.Password == b.Password && a.Login == b.Login
}

// vain reports whether nothing is gained by waiting for a start: the server does not get what it needs, and goes on trying by itself.
func (c *course) vain(at *NodeFacts) bool {
	return c.running() && c.remedy != nil && c.remedy.watch.waiting.Load() && thirsty(&at.Control) &&
		(at.Unled && at.Starting >= slowStart || at.Starting >= vainStart)
}

// thirsty reports whether a standby that is starting does not get its WAL from the primary. Its log is known in English only; in another
// language it is told and nothing is done.
func thirsty(c *cluster.Control) bool {
	if !c.Running || !c.Starting || !c.Standby || !strings.HasPrefix(c.Says, "FATAL: ") {
		return false
	}
	for _, failure := range []string{
		"could not connect to the primary server", // later releases say before it who could not
		"could not start WAL streaming", "could not receive data from WAL stream",
	} {
		if strings.Contains(c.Says, failure) {
			return true
		}
	}
	return false
}

// starting looks at a standby that runs and does not accept connections yet.
func (d *diagnosis) starting() Finding {
	c := &d.at.Control
	switch {
	case c.SystemID != d.primary.State.SystemID:
		return d.foreign(c.SystemID)
	case !thirsty(c) || d.at.Starting < slowStart:
		return d.is(Starting, None, "it is starting")
	case d.blind():
		return d.repoint("")
	case d.at.Unled:
		return d.is(Stuck, AsItIs, "it is starting and does not get its WAL, and may be set to another primary or log-in: %s", c.Says)
	}
	return d.is(Stuck, None, "it is starting and does not get its WAL, which it goes on asking for: %s", c.Says)
}
