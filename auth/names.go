package auth

import (
	"context"
	"net/netip"
	"strings"
)

// Resolver is what [GatherNames] asks; *net.Resolver is one.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// maxNames bounds how many names of one address are looked up: its owner makes them up.
const maxNames = 8

// GatherNames gives the host names of an address that lead back to it. It blocks as long as the resolver does; what
// cannot be looked up is not a name, so there is no error.
func GatherNames(ctx context.Context, r Resolver, addr netip.Addr) []string {
	candidates, err := r.LookupAddr(ctx, addr.WithZone("").String())
	if err != nil {
		return nil
	}
	var names []string
	for _, name := range candidates[:min(len(candidates), maxNames)] {
		forward, err := r.LookupNetIP(ctx, "ip", name)
		if err != nil {
			continue
		}
		for _, a := range forward {
			if a.Unmap() == addr.WithZone("").Unmap() {
				names = append(names, strings.TrimSuffix(name, "."))
				break
			}
		}
	}
	return names
}
