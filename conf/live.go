package conf

import "sync/atomic"

// Live holds the configuration in force. Take Current once per decision, at a safe point, and pass it down. The zero Live
// is not usable, see NewLive.
type Live struct {
	current atomic.Pointer[Config]
}

// NewLive starts with c in force.
func NewLive(c *Config) *Live {
	l := &Live{}
	l.current.Store(c)
	return l
}

// Current returns the configuration in force.
func (l *Live) Current() *Config { return l.current.Load() }

// Publish puts c in force. Only the owner of reloads calls it.
func (l *Live) Publish(c *Config) { l.current.Store(c) }
