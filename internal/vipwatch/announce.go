package vipwatch

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"gopgpool/internal/hosts"
)

// Announce tells the network of a host's device that the host has the address, as is proper after raising it by hand.
func Announce(h *hosts.Host, device string, ip netip.Addr) error {
	return h.Within(func() error {
		d, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		frame := question(ip, 0)
		copy(frame[6:], d.HardwareAddr)
		copy(frame[ofSender:], d.HardwareAddr)
		copy(frame[ofSenderIP:], ip.AsSlice())
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ARP), Ifindex: d.Index})
	})
}
