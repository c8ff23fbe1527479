package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

const (
	// questions are sent at these moments of a probe.
	questions     = 4
	questionPause = 100 * time.Millisecond
)

// Probe asks on the network whether anybody but this host has the address, and takes about 400 ms unless somebody answers. By names
// who answers, a hardware address where that is known. Without a device on which the address would be at home, ping asks.
//
// That nobody answers is no proof: the packets may be lost.
func (a *Address) Probe(ctx context.Context) (answered bool, by string, err error) {
	if !a.cfg.IP.IsValid() {
		return false, "", errors.New("no delegate_ip is set")
	}
	k, err := openKernel()
	if err != nil {
		return false, "", err
	}
	defer k.close()
	dev, err := a.probeDevice(k)
	if errors.Is(err, errNoEthernet) {
		return a.probeByPing(ctx, k)
	}
	if err != nil {
		return false, "", err
	}
	return probe(ctx, dev, a.cfg.IP)
}

// probeDevice is where the address is at home: where it would be placed, is configured to be, or is routed to directly.
func (a *Address) probeDevice(k *kernel) (device, error) {
	name := a.cfg.Device
	if where, ok := parseAdd(a.upWords(), a.cfg.CommandPath, a.cfg.IP); ok {
		name = where.device
	}
	if name != "" {
		link, err := k.handle.LinkByName(name)
		if err != nil {
			return device{}, fmt.Errorf("device %q: %w", name, err)
		}
		return k.device(link)
	}
	routes, err := k.handle.RouteGet(a.cfg.IP.AsSlice())
	if err != nil || len(routes) == 0 || routes[0].Gw != nil || routes[0].Via != nil {
		return device{}, fmt.Errorf("%s is on no network of this host: %w", a.cfg.IP, errNoEthernet)
	}
	link, err := k.handle.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return device{}, err
	}
	return k.device(link)
}

func (a *Address) upWords() []string {
	argv, _ := words(a.cfg.UpCommand, a.cfg.IP) // New has seen the error
	return argv
}

// probe asks several times. What comes from a hardware address of this host does not count.
func probe(ctx context.Context, dev device, ip netip.Addr) (bool, string, error) {
	own, err := ownHardware()
	if err != nil {
		return false, "", err
	}
	wire, err := openWire(dev, ip)
	if err != nil {
		return false, "", fmt.Errorf("probe %s on %q: %w", ip, dev.name, err)
	}
	defer func() { _ = wire.Close() }() // every write was checked
	stop := context.AfterFunc(ctx, func() { _ = wire.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	frame := question(ip, dev.hardware)
	for range questions {
		if _, err := wire.Write(frame); err != nil {
			return false, "", fmt.Errorf("probe %s on %q: %w", ip, dev.name, err)
		}
		if err := wire.SetReadDeadline(time.Now().Add(questionPause)); err != nil {
			return false, "", err
		}
		if err := context.Cause(ctx); err != nil {
			return false, "", err
		}
		by, err := listen(wire, ip, own)
		if by != nil || err != nil {
			return by != nil, by.String(), err
		}
	}
	return false, "", context.Cause(ctx)
}

// listen reads frames until somebody claims ip or the deadline has come.
func listen(wire *os.File, ip netip.Addr, own map[string]bool) (net.HardwareAddr, error) {
	buf := make([]byte, 2048)
	for {
		n, err := wire.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		}
		if err != nil && !errors.Is(err, syscall.ENETDOWN) { // told once, at the moment the device goes down
			return nil, err
		}
		if by, ok := claims(buf[:max(n, 0)], ip); ok && !own[by.String()] {
			return by, nil
		}
	}
}

// ownHardware is the set of this host's hardware addresses.
func ownHardware() (map[string]bool, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, i := range all {
		own[i.HardwareAddr.String()] = true
	}
	return own, nil
}

// probeByPing is for addresses that are not on a network of this host.
func (a *Address) probeByPing(ctx context.Context, k *kernel) (bool, string, error) {
	found, err := k.find(a.cfg.IP)
	if err != nil {
		return false, "", err
	}
	if len(found) > 0 {
		return false, "", nil // we would hear ourselves
	}
	program, err := executable("ping", a.cfg.PingPath)
	if err != nil {
		return false, "", err
	}
	pinger := jobs{log: a.log}
	err = pinger.execute(ctx, syscall.SIGTERM, program, "-n", "-q", "-c", "2", "-i", "0.2", "-W", "1", a.cfg.IP.String())
	if cause := context.Cause(ctx); cause != nil {
		return false, "", cause
	}
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // nobody answered; 2 is trouble of ping's own
		return false, "", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("%s: %w", program, err)
	}
	return true, "ping", nil
}
