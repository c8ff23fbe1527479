package proxy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// forEver is an auth_delay that no test waits out.
const forEver = time.Hour

func delayed(t *testing.T, delay time.Duration, most int) *testProxy {
	return newTestProxy(t, setup{
		world: world(), passwd: "victim:TEXTsecret\n",
		hba:   "host all bystander 127.0.0.1/32 trust\nhost all rejected 127.0.0.1/32 reject\n" + passwordHBA,
		tweak: func(c *conf.Config) { c.Auth.AuthDelay, c.Auth.MaxStartupsPerAddress = delay, most },
	})
}

// fail starts a login with a wrong password and returns when it is in its delay.
func fail(t *testing.T, p *testProxy) *fakepg.Client {
	t.Helper()
	c := p.start(t, "victim")
	if m := c.Next(); m.Type != pgwire.Authentication {
		t.Fatalf("got %s", fakepg.Show(m))
	}
	c.Send(body('p', "wrong\x00"))
	await(t, "the login fails", func() bool {
		counted := true
		p.sessionOf("victim", func(s *session) { counted = s.counted })
		return !counted
	})
	return c
}

// TestAuthDelay has failed logins wait, and nothing else.
func TestAuthDelay(t *testing.T) {
	t.Run("a wrong password", func(t *testing.T) {
		const delay = 50 * time.Millisecond
		p := delayed(t, delay, 0)
		c := p.start(t, "victim")
		c.Next()
		began := time.Now()
		c.Send(body('p', "wrong\x00"))
		c.ExpectFatal("28P01")
		if d := time.Since(began); d < delay {
			t.Errorf("answered after %v", d)
		}
	})
	t.Run("a reject record", func(t *testing.T) {
		const delay = 50 * time.Millisecond
		p := delayed(t, delay, 0)
		began := time.Now()
		c := p.start(t, "rejected")
		c.ExpectFatal("28000")
		if d := time.Since(began); d < delay {
			t.Errorf("answered after %v", d)
		}
	})
	t.Run("all else at once", func(t *testing.T) {
		p := delayed(t, forEver, 0)
		p.bystander(t).c.Bye()
		c := p.start(t, "victim")
		c.Next()
		c.Send(body('p', "without a terminator"))
		c.ExpectFatal("08P01")
		c = p.start(t, "")
		c.ExpectFatal("28000")
	})
}

// TestAuthDelayEnds has the delay end with its client, and with the proxy.
func TestAuthDelayEnds(t *testing.T) {
	t.Run("the client hangs up", func(t *testing.T) {
		p := delayed(t, forEver, 0)
		c := fail(t, p)
		c.Close()
		await(t, "the socket is closed", func() bool { return p.sockets() == 0 })
	})
	t.Run("a wake-up does not end it", func(t *testing.T) {
		p := delayed(t, forEver, 0)
		c := fail(t, p)
		p.wakeAll()
		p.bystander(t).c.Bye()
		if !p.sessionOf("victim", func(*session) {}) {
			t.Error("it has ended")
		}
		c.Close()
	})
	t.Run("the proxy stops", func(t *testing.T) {
		p := delayed(t, forEver, 0)
		c := fail(t, p)
		p.stop()
		p.ended.Wait()
		c.UntilEnd()
		c.Close()
	})
}

// TestAuthDelayCounts has a delayed client keep its place among those of its address.
func TestAuthDelayCounts(t *testing.T) {
	p := delayed(t, forEver, 1)
	c := fail(t, p)
	p.dial(t).ExpectFatal("53300")
	c.Close()
	await(t, "the address is free", func() bool { return p.sockets() == 0 })
	p.bystander(t).c.Bye()
}

func TestFailedProof(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&auth.Error{SQLSTATE: "28P01"}, true},
		{fmt.Errorf("login: %w", &auth.Error{SQLSTATE: "28000"}), true},
		{&auth.Error{SQLSTATE: "08P01"}, false},
		{&pool.ServerError{Fields: pgwire.Fields{Code: "28P01"}}, true},
		{&pool.ServerError{Fields: pgwire.Fields{Code: "28000"}}, true},
		{&pool.ServerError{Fields: pgwire.Fields{Code: "3D000"}}, false},
		{errLoginTimeout, false},
		{errTerminated, false},
		{errors.New("other"), false},
	} {
		if got := failedProof(c.err); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}
