package proxy

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// saslFirst is a client's choice of a mechanism with its first message.
func saslFirst(mechanism, message string) []byte {
	b := append([]byte(mechanism), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(message)))
	return body('p', string(b)+message)
}

// TestAuthenticationTimeoutWithin ends clients in the middle of an exchange, and gives back what they held.
func TestAuthenticationTimeoutWithin(t *testing.T) {
	const limit = 300 * time.Millisecond
	p := newTestProxy(t, setup{
		world: world(), passwd: "victim:TEXTsecret\nbystander:TEXTx\n", conf: "num_init_children = 1\nmax_startups_per_address = 1\n",
		hba:   "host all bystander 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
		tweak: func(c *conf.Config) { c.Auth.AuthenticationTimeout = limit },
	})
	startup := pgwire.AppendStartup(nil, "victim", "db", nil)
	first := saslFirst("SCRAM-SHA-256", "n,,n=,r=nonce")
	for _, h := range []struct {
		name string
		send []byte
		drip bool
	}{
		{"GSSENCRequest and nothing else", whole(gssCode, ""), false},
		{"no mechanism chosen", startup, false},
		{"half a choice", slices.Concat(startup, first[:12]), false},
		{"a mechanism without a message", slices.Concat(startup, body('p', "SCRAM-SHA-256\x00\xff\xff\xff\xff")), false},
		{"no proof", slices.Concat(startup, first), false},
		{"half a proof", slices.Concat(startup, first, frame('p', 100, "c=biws,r=")), false},
		{"a proof byte by byte", slices.Concat(startup, first, body('p', "c=biws,r="+strings.Repeat("x", 900))), true},
	} {
		t.Run(h.name, func(t *testing.T) {
			p.log.reset()
			began := time.Now()
			c := p.dial(t)
			if h.drip {
				c.Send(h.send[:len(startup)+len(first)])
				drip(p, c, h.send[len(startup)+len(first):])
			} else {
				c.Send(h.send)
			}
			c.UntilEnd()
			if d := time.Since(began); d < limit {
				t.Errorf("ended after %v", d)
			}
			await(t, "the socket is closed", func() bool { return p.sockets() == 0 })
			if events := p.log.events(); len(events) != 1 || !strings.Contains(events[0], "authentication") {
				t.Errorf("log:\n%s", p.log)
			}
			p.authenticateWithin(awaitTimeout)
			p.bystander(t).c.Bye() // the only place, and the only one of the address, are free
			await(t, "the bystander has left", func() bool { return p.sockets() == 0 })
			p.authenticateWithin(limit)
		})
	}
}

// TestAuthenticationTimeoutOfServers ends clients whose server does not get on with their login.
func TestAuthenticationTimeoutOfServers(t *testing.T) {
	p := newTestProxy(t, setup{
		world: world(), tweak: func(c *conf.Config) { c.Auth.AuthenticationTimeout = 300 * time.Millisecond },
	})
	p.unseen = true
	for name, at := range map[string]fakepg.Moment{"at once": fakepg.Accepted, "after the startup packet": fakepg.Started, "after it let in": fakepg.Admitted} {
		t.Run(name, func(t *testing.T) {
			p.fakes[0].Misbehave(fakepg.Fault{At: at, Do: fakepg.SayAndStall(nil)})
			defer p.fakes[0].Behave()
			c := p.start(t, "victim")
			c.UntilEnd()
			await(t, "the socket is closed", func() bool { return p.sockets() == 0 && p.admitted.busy() == 0 })
		})
	}
}

// TestWaitingIsNoTimeout has a client wait for a place longer than authentication_timeout.
func TestWaitingIsNoTimeout(t *testing.T) {
	const limit = time.Second // and within it both have to log in, on a busy machine too
	p := newTestProxy(t, setup{
		world: world(), conf: "num_init_children = 1\n", tweak: func(c *conf.Config) { c.Auth.AuthenticationTimeout = limit },
	})
	beside := p.bystander(t)
	c := p.start(t, "victim")
	began := time.Now()
	await(t, "the time passes", func() bool { return time.Since(began) > limit*3/2 })
	beside.c.Bye()
	c.Login()
	c.Bye()
}
