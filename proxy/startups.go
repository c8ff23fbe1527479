package proxy

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gopgpool/logging"
)

// startups counts the connections of each address that are not logged in, for max_startups_per_address.
//
// A connection counts once: from its acceptance, or from the end of its PROXY header, which tells the address that counts, until its
// login is done or it ends. That includes its wait for a place among num_init_children: whoever waits has shown nothing but a
// startup packet. Having entered, it is not asked again, so it cannot lose its turn. A failed login counts during auth_delay, a cancel
// request until it is dealt with. Beyond the bound a connection is refused before anything (else) is read of it.
//
// An address is an IPv4 address, or 64 bits of an IPv6 address: what a site gives to one network. Unix domain sockets do not count.
type startups struct {
	mu     sync.Mutex
	counts map[netip.Addr]int       // guarded by mu; none is 0
	told   map[netip.Addr]time.Time // guarded by mu; whose refusal was logged, in the last second or so
}

// maxTold bounds the addresses whose refusals are logged in one second.
const maxTold = 100

// tellEvery is the time between two lines about one address.
const tellEvery = time.Second

func newStartups() *startups {
	return &startups{counts: make(map[netip.Addr]int), told: make(map[netip.Addr]time.Time)}
}

// startup is a connection that counts. The zero value is one that does not.
type startup struct {
	of   *startups
	addr netip.Addr
}

// enter counts a connection of an address, unless there are most of them (0: no bound). An address that is not valid does not count.
// Its only error is *startupsFull. Connections that entered before a change of the bound stay.
func (x *startups) enter(addr netip.Addr, most int, now time.Time) (startup, error) {
	if !addr.IsValid() {
		return startup{}, nil
	}
	key := startupKey(addr)
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := x.counts[key]; most > 0 && n >= most {
		return startup{}, &startupsFull{addr: key, most: most, tell: x.tellLocked(key, now)}
	}
	x.counts[key]++
	return startup{of: x, addr: key}, nil
}

// leave ends the counting; further calls do nothing.
func (s *startup) leave() {
	x := s.of
	if x == nil {
		return
	}
	s.of = nil
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := x.counts[s.addr]; n > 1 {
		x.counts[s.addr] = n - 1
	} else {
		delete(x.counts, s.addr)
	}
}

// tellLocked says whether a refusal is worth a line of the log.
func (x *startups) tellLocked(key netip.Addr, now time.Time) bool {
	if at, ok := x.told[key]; ok && now.Sub(at) < tellEvery {
		return false
	}
	if len(x.told) >= maxTold {
		for k, at := range x.told {
			if now.Sub(at) >= tellEvery {
				delete(x.told, k)
			}
		}
		if len(x.told) >= maxTold {
			return false
		}
	}
	x.told[key] = now
	return true
}

// startupKey is what counts as one address.
func startupKey(addr netip.Addr) netip.Addr {
	addr = addr.Unmap()
	if addr.Is4() {
		return addr
	}
	p, err := addr.WithZone("").Prefix(64)
	if err != nil {
		panic("proxy: no network of an IPv6 address: " + err.Error())
	}
	return p.Addr()
}

// startupsFull is an address with too many connections that are not logged in.
type startupsFull struct {
	addr netip.Addr
	most int
	tell bool // in the log: the refusals of an address have a line at most once a second
}

func (e *startupsFull) Error() string {
	return "too many connections of " + e.who() + " that are not logged in"
}

func (e *startupsFull) who() string {
	if e.addr.Is4() {
		return e.addr.String()
	}
	return e.addr.String() + "/64"
}

// SQLState is the code the client is told.
func (e *startupsFull) SQLState() string { return "53300" }

// Unwrap is the error for the client.
func (e *startupsFull) Unwrap() error {
	return &clientError{
		Severity: "FATAL", Code: e.SQLState(), Message: "too many connections of this address that are not logged in",
		Hint: "Try again later, or see the parameter max_startups_per_address.",
	}
}

// event is the log's line.
func (e *startupsFull) event() logging.Event {
	return logging.Event{
		Severity: logging.Warning, Message: e.Error(), SQLState: e.SQLState(),
		Detail: fmt.Sprintf("max_startups_per_address is %d; further refusals of this address are logged once a second", e.most),
	}
}
