package pulse

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

const receiveBuffer = 1 << 20 // so that a flood of garbage does not push out heartbeats at once

func family(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

// open makes a socket to send to addresses of to's kind.
func open(ctx context.Context, to netip.Addr, device string) (*net.UDPConn, error) {
	from := netip.IPv4Unspecified()
	if !to.Is4() {
		from = netip.IPv6Unspecified()
	}
	return socket(ctx, netip.AddrPortFrom(from, 0), func(fd int) error { return bindToDevice(fd, device) })
}

// listen makes a socket to receive at one address.
func listen(ctx context.Context, at netip.AddrPort, device string) (*net.UDPConn, error) {
	c, err := socket(ctx, at, func(fd int) error {
		for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
				return fmt.Errorf("sharing the port: %w", err)
			}
		}
		return bindToDevice(fd, device)
	})
	if err == nil {
		_ = c.SetReadBuffer(receiveBuffer) // the system's limit may be lower
	}
	return c, err
}

func socket(ctx context.Context, at netip.AddrPort, prepare func(fd int) error) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = prepare(int(fd)) }); err != nil {
			return err
		}
		return failed
	}}
	c, err := config.ListenPacket(ctx, family(at.Addr()), at.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

func bindToDevice(fd int, device string) error {
	if device == "" {
		return nil
	}
	if err := unix.BindToDevice(fd, device); err != nil {
		return fmt.Errorf("binding to device %s: %w", device, err)
	}
	return nil
}

// deviceIndex is the number the system gave to a device; 0 for none.
func deviceIndex(device string) (int, error) {
	if device == "" {
		return 0, nil
	}
	i, err := net.InterfaceByName(device)
	if err != nil {
		return 0, fmt.Errorf("device %s: %w", device, err)
	}
	return i.Index, nil
}
