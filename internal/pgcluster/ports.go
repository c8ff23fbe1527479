package pgcluster

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports are given out of this range: below the kernel's ephemeral ports, so that no outgoing connection takes one between
// its choice and its use.
const (
	firstPort = 24000
	lastPort  = 31999
)

// Ports is a reservation of TCP ports of the loopback interface.
type Ports struct {
	Numbers []int
	claims  []io.Closer
}

// ReservePorts chooses n free ports in a row. Other processes that reserve ports through this package do not get them before
// Close or the end of this process.
func ReservePorts(n int) (*Ports, error) {
	span := lastPort - firstPort + 1 - n
	start := rand.IntN(span)
	for i := 0; i < span; {
		p := &Ports{}
		first := firstPort + (start+i)%span
		for len(p.Numbers) < n && p.add(first+len(p.Numbers)) {
		}
		if len(p.Numbers) == n {
			return p, nil
		}
		i += len(p.Numbers) + 1
		if err := p.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no %d free ports in a row between %d and %d", n, firstPort, lastPort)
}

func (p *Ports) add(port int) bool {
	claim, ok := claimPort(port)
	if ok {
		p.Numbers = append(p.Numbers, port)
		p.claims = append(p.claims, claim)
	}
	return ok
}

// claimPort takes the name of the port in the abstract socket name space, which dies with its holder, and looks whether
// somebody listens on the port.
func claimPort(port int) (io.Closer, bool) {
	claim, err := net.Listen("unix", fmt.Sprintf("@gopgpool-port-%d", port))
	if err != nil {
		return nil, false
	}
	probe, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		_ = claim.Close() // nothing was written to it
		return nil, false
	}
	_ = probe.Close() // nobody connected to it
	return claim, true
}

// Close gives the ports back.
func (p *Ports) Close() error {
	var errs []error
	for _, c := range p.claims {
		errs = append(errs, c.Close())
	}
	p.claims = nil
	return errors.Join(errs...)
}

// FreePort returns a port that is the test's until its end.
func FreePort(tb testing.TB) int {
	tb.Helper()
	return FreePorts(tb, 1)
}

// FreePorts returns the first of n ports in a row that are the test's until its end.
func FreePorts(tb testing.TB, n int) int {
	tb.Helper()
	p, err := ReservePorts(n)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p.Numbers[0]
}
