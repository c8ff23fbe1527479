package vip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// openWire opens a packet socket for the protocol that asks about ip. Writes are whole frames.
func openWire(dev device, ip netip.Addr) (*os.File, error) {
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, etherType(ip)))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("packet socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: dev.index}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("bind packet socket", err)
	}
	return os.NewFile(uintptr(fd), "packets of "+dev.name), nil
}

// announce tells the neighbours once.
func announce(dev device, ip netip.Addr) error {
	wire, err := openWire(dev, ip)
	if err != nil {
		return fmt.Errorf("announce %s on %q: %w", ip, dev.name, err)
	}
	defer func() { _ = wire.Close() }() // every write was checked
	for _, frame := range announcements(ip, dev.hardware) {
		if _, err := wire.Write(frame); err != nil {
			return fmt.Errorf("announce %s on %q: %w", ip, dev.name, err)
		}
	}
	return nil
}
