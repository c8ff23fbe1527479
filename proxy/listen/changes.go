package listen

import (
	"maps"
	"slices"
	"unicode/utf8"
)

// maxName is how many bytes of a channel's name count (PostgreSQL: NAMEDATALEN - 1).
const maxName = 63

// Channel is the name a server gives the channel of that name: its first 63 bytes, without a cut character. Case is folded
// by SQL's grammar before.
func Channel(name string) string {
	if len(name) <= maxName {
		return name
	}
	end := maxName
	for end > maxName-utf8.UTFMax && !utf8.RuneStart(name[end]) {
		end--
	}
	if !utf8.RuneStart(name[end]) {
		end = maxName // no UTF-8
	}
	return name[:end]
}

// Changes is what one session has asked for: the channels in force and what the open transaction does to them when it
// commits. Outside a transaction block each statement is followed by Commit. The zero Changes listens to nothing.
type Changes struct {
	inForce map[string]uint64 // when it came, for the order
	clock   uint64
	begun   bool // something was in force, or nearly so: UNLISTEN counts from then on
	pending []action
	saves   []savepoint
}

type verb uint8

const (
	listen verb = iota
	unlisten
	unlistenAll
)

type action struct {
	verb    verb
	channel string
}

type savepoint struct {
	name string
	at   int // actions before it
}

// Listen records a LISTEN that has succeeded. The error, an *Error, says that there are too many; nothing is recorded then.
func (c *Changes) Listen(channel string) error {
	channel = Channel(channel)
	if len(c.inForce)+len(c.pending) >= MaxChannels && !c.Has(channel) {
		return tooMany()
	}
	return c.add(action{verb: listen, channel: channel})
}

// Unlisten records an UNLISTEN of one channel. See Listen for the error.
func (c *Changes) Unlisten(channel string) error {
	return c.add(action{verb: unlisten, channel: Channel(channel)})
}

// UnlistenAll records UNLISTEN *, which is also part of DISCARD ALL. See Listen for the error.
func (c *Changes) UnlistenAll() error { return c.add(action{verb: unlistenAll}) }

func (c *Changes) add(a action) error {
	switch {
	case a.verb != listen && len(c.pending) == 0 && !c.begun:
		return nil
	case len(c.pending) > 0 && c.pending[len(c.pending)-1] == a: // whatever is undone, it makes no difference
		return nil
	case len(c.pending) >= maxActions:
		return tooMany()
	}
	c.pending = append(c.pending, a)
	return nil
}

// Savepoint begins a subtransaction. A name may be used again: the newest counts.
func (c *Changes) Savepoint(name string) {
	c.saves = append(c.saves, savepoint{name: name, at: len(c.pending)})
}

// Release ends the newest savepoint of that name and those after it, keeping what they did. The server has found it; where
// it is not known here, nothing changes.
func (c *Changes) Release(name string) {
	if i := c.newest(name); i >= 0 {
		c.saves = c.saves[:i]
	}
}

// RollbackTo forgets what was done since the newest savepoint of that name, which stays.
func (c *Changes) RollbackTo(name string) {
	if i := c.newest(name); i >= 0 {
		c.cut(c.saves[i].at)
		c.saves = c.saves[:i+1]
	}
}

func (c *Changes) newest(name string) int {
	for i := len(c.saves) - 1; i >= 0; i-- {
		if c.saves[i].name == name {
			return i
		}
	}
	return -1
}

func (c *Changes) cut(at int) {
	clear(c.pending[at:])
	c.pending = c.pending[:at]
}

// Commit puts the transaction's changes into force and tells what they come to, sorted: LISTEN and UNLISTEN of the same
// channel are neither added nor removed.
func (c *Changes) Commit() (added, removed []string) {
	added, removed = c.apply()
	c.Rollback()
	return added, removed
}

// Outcome is what Commit would return now.
func (c *Changes) Outcome() (added, removed []string) {
	if len(c.pending) == 0 {
		return nil, nil
	}
	after := c.clone()
	return after.apply()
}

// Rollback ends the transaction without its changes.
func (c *Changes) Rollback() { c.pending, c.saves = nil, nil }

// Pending reports whether the transaction has executed LISTEN or UNLISTEN to some effect, committed or not: PREPARE
// TRANSACTION is an error then (0A000, as after NOTIFY).
func (c *Changes) Pending() bool { return len(c.pending) > 0 }

// Listening reports whether anything is in force.
func (c *Changes) Listening() bool { return len(c.inForce) > 0 }

// Has reports whether a channel is in force.
func (c *Changes) Has(channel string) bool {
	_, ok := c.inForce[channel]
	return ok
}

// Channels are those in force in the order they came, as pg_listening_channels() has them.
func (c *Changes) Channels() []string {
	names := slices.Collect(maps.Keys(c.inForce))
	slices.SortFunc(names, func(a, b string) int { return int(int64(c.inForce[a] - c.inForce[b])) })
	return names
}

func (c *Changes) clone() *Changes {
	return &Changes{inForce: maps.Clone(c.inForce), clock: c.clock, begun: c.begun, pending: slices.Clone(c.pending)}
}

// apply carries out the pending actions in order.
func (c *Changes) apply() (added, removed []string) {
	before := map[string]bool{} // what was in force, of the channels that have been touched
	touch := func(name string) {
		if _, seen := before[name]; !seen {
			before[name] = c.Has(name)
		}
	}
	for _, a := range c.pending {
		switch a.verb {
		case listen:
			touch(a.channel)
			c.put(a.channel)
		case unlisten:
			touch(a.channel)
			delete(c.inForce, a.channel)
		case unlistenAll:
			for name := range c.inForce {
				touch(name)
			}
			clear(c.inForce)
		}
	}
	for name, was := range before {
		switch {
		case !was && c.Has(name):
			added = append(added, name)
		case was && !c.Has(name):
			removed = append(removed, name)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	return added, removed
}

func (c *Changes) put(name string) {
	c.begun = true
	if c.Has(name) {
		return
	}
	if c.inForce == nil {
		c.inForce = map[string]uint64{}
	}
	c.clock++
	c.inForce[name] = c.clock
}
