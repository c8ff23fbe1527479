package health

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// nameFresh is how long addresses are used without asking the name service again: a search asks ten times a second.
	nameFresh = time.Second
	// nameRests is how long a name service that failed is left alone while the last addresses do.
	nameRests = 5 * time.Second
	// nameBound bounds the wait for a name service.
	nameBound = 5 * time.Second
)

// names finds the addresses of hosts. It remembers the last addresses of each name: a name service that fails says nothing about
// the server behind the name. It may be used from any goroutine.
type names struct {
	lookup func(ctx context.Context, host string) ([]string, error)
	now    func() time.Time

	mu    sync.Mutex
	known map[string]known // guarded by mu; values are never changed, only replaced
}

// known is what was learned about a name.
type known struct {
	addresses []string
	next      time.Time // when the name service is asked again
	err       error     // of the last question, nil if it was answered
}

func newNames() *names {
	return &names{lookup: net.DefaultResolver.LookupHost, now: time.Now, known: map[string]known{}}
}

// find returns where to connect to: a socket directory and an address stand for themselves. Note is the error of the name service
// where the addresses are from before; err that there never were any.
func (n *names) find(ctx context.Context, host string) (addresses []string, note, err error) {
	if strings.HasPrefix(host, "/") {
		return []string{host}, nil, nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}, nil, nil
	}
	k := n.recall(host)
	if len(k.addresses) == 0 || !n.now().Before(k.next) {
		k = n.ask(ctx, host, k)
	}
	if len(k.addresses) == 0 {
		return nil, nil, k.err
	}
	return k.addresses, k.err, nil
}

func (n *names) recall(host string) known {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[host]
}

// ask puts the question, for half of the time there is: the addresses must be tried yet.
func (n *names) ask(ctx context.Context, host string, before known) known {
	bound := nameBound
	if end, ok := ctx.Deadline(); ok {
		bound = min(bound, time.Until(end)/2)
	}
	asking, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	found, err := n.lookup(asking, host)
	k := known{addresses: slices.Clip(found), next: n.now().Add(nameFresh)}
	if err != nil || len(found) == 0 {
		if err == nil {
			err = &net.DNSError{Err: "no address", Name: host}
		}
		k = known{addresses: before.addresses, next: n.now().Add(nameRests), err: err}
	}
	if ctx.Err() != nil && err != nil {
		return k // the caller gave up: that says nothing about the name service
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[host] = k
	return k
}
