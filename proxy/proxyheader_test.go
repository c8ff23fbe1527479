package proxy

import (
	"strings"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// Headers of a balancer: version 1, version 2 with an addition, its own health check.
const (
	lineHeader   = "PROXY TCP4 192.0.2.7 10.0.0.1 54321 5432\r\n"
	binaryHeader = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x10\xc0\x00\x02\x07\x0a\x00\x00\x01\xd4\x31\x15\x38\xea\x00\x01x"
	localHeader  = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	otherHeader  = "PROXY TCP4 192.0.2.8 10.0.0.1 54321 5432\r\n"
	ipv6Header   = "PROXY TCP6 2001:db8::7 2001:db8::1 54321 5432\r\n"
)

// behindBalancer is a proxy that takes headers from its own machine, and clients only from networks that no client of the tests is in.
func behindBalancer(t *testing.T, more string) *testProxy {
	return newTestProxy(t, setup{
		world: world(), conf: "auth_delay = 0\nproxy_protocol_networks = '127.0.0.0/8'\nlog_connections = on\n" + more,
		hba: "host all all 192.0.2.0/24 trust\nhost all all 2001:db8::/64 trust\nhost all all 127.0.0.1/32 reject\n",
	})
}

func startupOf(user string) string { return string(pgwire.AppendStartup(nil, user, "db", nil)) }

// TestProxyHeader lets clients in by the address that the header tells, and nobody without.
func TestProxyHeader(t *testing.T) {
	startup := startupOf("victim")
	ssl, gss := string(whole(sslCode, "")), string(whole(gssCode, ""))
	for _, h := range []struct {
		name string
		send string
		said string // bytes before the login
		code string // of the refusal; "" lets in
	}{
		{"version 1", lineHeader + startup, "", ""},
		{"version 2", binaryHeader + startup, "", ""},
		{"IPv6", ipv6Header + startup, "", ""},
		{"the balancer itself", localHeader + startup, "", "28000"},
		{"UNKNOWN", "PROXY UNKNOWN\r\n" + startup, "", "28000"},
		{"a client of a network that may not", "PROXY TCP4 203.0.113.1 10.0.0.1 1 2\r\n" + startup, "", "28000"},
		{"no header", startup, "", "08P01"},
		{"no header before SSLRequest", ssl, "", "08P01"},
		{"no header before a cancel request", string(whole(cancelCode, "\x00\x00\x00\x01key!")), "", "08P01"},
		{"a header twice", lineHeader + lineHeader + startup, "", "08P01"},
		{"one of each version", lineHeader + binaryHeader + startup, "", "08P01"},
		{"a malformed header", "PROXY TCP4 192.0.2.7 10.0.0.1 54321\r\n" + startup, "", "08P01"},
		{"a header without end", "PROXY " + strings.Repeat("x", 200), "", "08P01"},
		{"a length of 64 kB", binaryHeader[:14] + "\xff\xff" + startup, "", "08P01"},
		{"a wrong checksum", strings.Replace(binaryHeader, "\x00\x10\xc0", "\x00\x13\xc0", 1)[:28] + "\x03\x00\x04\x00\x00\x00\x00" + startup, "", "08P01"},
		{"GSSENCRequest behind it", lineHeader + gss, "N", ""},
	} {
		t.Run(h.name, func(t *testing.T) {
			p := behindBalancer(t, "")
			c := p.dial(t)
			c.Send([]byte(h.send))
			if h.said != "" {
				if got := c.Byte(); got != h.said[0] {
					t.Fatalf("said %q", got)
				}
				c.Send([]byte(startup))
			}
			if h.code != "" {
				c.ExpectFatal(h.code)
				return
			}
			c.Login()
			if log := p.log.String(); !strings.Contains(log, "192.0.2.7") && !strings.Contains(log, "2001:db8::7") {
				t.Errorf("the log does not tell the client's address:\n%s", log)
			}
			c.Bye()
		})
	}
}

// TestProxyHeaderInPieces sends each byte alone.
func TestProxyHeaderInPieces(t *testing.T) {
	p := behindBalancer(t, "")
	for _, header := range []string{lineHeader, binaryHeader} {
		c := p.dial(t)
		for _, b := range []byte(header + startupOf("victim")) {
			c.Send([]byte{b})
		}
		c.Login()
		c.Bye()
	}
}

// TestProxyHeaderBeforeCancel cancels a statement through the balancer.
func TestProxyHeaderBeforeCancel(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 3, conf: onStandby + "proxy_protocol_networks = '127.0.0.0/8'\n"})
	c := p.dial(t)
	c.Send([]byte(lineHeader + startupOf("victim")))
	c.Login()
	p.publish(t, condemn)
	c.Send(pgwire.AppendQuery(nil, insert))
	await(t, "the statement is held", func() bool { return p.held("victim") })
	x := p.dial(t)
	x.Send(append([]byte(otherHeader), pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Key})...))
	x.ExpectEnd()
	if got := errorsOf(c.UntilReady()); len(got) != 1 || got[0].Code != "57014" {
		t.Errorf("got %v", got)
	}
	p.publish(t, crown(2))
	c.Bye()
}

// TestProxyHeaderFromElsewhere is no header but a malformed startup packet.
func TestProxyHeaderFromElsewhere(t *testing.T) {
	for name, networks := range map[string]string{"no networks": "", "others": "proxy_protocol_networks = '192.0.2.0/24'\n"} {
		t.Run(name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: world(), conf: networks})
			for _, header := range []string{lineHeader, binaryHeader, localHeader} {
				c := p.dial(t)
				c.Send([]byte(header + startupOf("victim")))
				c.ExpectFatal("08P01")
			}
		})
	}
}

// TestProxyHeaderTimeout ends a connection that does not finish its header.
func TestProxyHeaderTimeout(t *testing.T) {
	p := newTestProxy(t, setup{
		world: world(), conf: "proxy_protocol_networks = '127.0.0.0/8'\n",
		tweak: func(c *conf.Config) { c.Auth.AuthenticationTimeout = 200 * time.Millisecond },
	})
	for _, part := range []string{"", lineHeader[:20], binaryHeader[:20]} {
		c := p.dial(t)
		c.Send([]byte(part))
		c.UntilEnd()
		await(t, "the socket is closed", func() bool { return p.sockets() == 0 })
	}
}

// TestStartupsPerAddress refuses a further connection of an address, whose address is that of the header.
func TestStartupsPerAddress(t *testing.T) {
	p := behindBalancer(t, "max_startups_per_address = 1\n")
	held := p.dial(t)
	held.Send([]byte(lineHeader))
	await(t, "it counts", func() bool {
		p.startups.mu.Lock()
		defer p.startups.mu.Unlock()
		return len(p.startups.counts) == 1
	})
	began := time.Now()
	for range 3 {
		c := p.dial(t)
		c.Send([]byte(lineHeader))
		c.ExpectFatal("53300")
	}
	most := 1 + int(time.Since(began)/tellEvery) // one a second; a busy machine may need more than one
	if n := strings.Count(p.log.String(), "too many connections of 192.0.2.7"); n < 1 || n > most {
		t.Errorf("%d lines in the log, at most %d should be:\n%s", n, most, p.log)
	}
	other := p.dial(t)
	other.Send([]byte(otherHeader + startupOf("victim")))
	other.Login()
	held.Send([]byte(startupOf("victim")))
	held.Login()
	c := p.dial(t)
	c.Send([]byte(lineHeader + startupOf("victim")))
	c.Login() // those who are logged in do not count
	for _, c := range []*fakepg.Client{c, held, other} {
		c.Bye()
	}
}

// TestStartupsWithoutHeaders counts plain connections from their acceptance, waiting ones included.
func TestStartupsWithoutHeaders(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), conf: "num_init_children = 1\nmax_startups_per_address = 2\n"})
	beside := p.bystander(t)
	waits, silent := p.start(t, "victim"), p.dial(t)
	await(t, "both count", func() bool {
		p.startups.mu.Lock()
		defer p.startups.mu.Unlock()
		for _, n := range p.startups.counts {
			return n == 2
		}
		return false
	})
	p.dial(t).ExpectFatal("53300")
	silent.Close()
	beside.c.Bye()
	waits.Login()
	waits.Bye()
}
