package vip

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Frames of ARP (RFC 826, 5227) and of neighbour discovery (RFC 4861), made and read by hand: there are four.

const (
	arpRequest = 1
	arpReply   = 2

	neighbourSolicitation  = 135
	neighbourAdvertisement = 136

	ethernetHeader = 14
	ipv6Header     = 40
)

// etherType is the protocol that carries questions about an address.
func etherType(ip netip.Addr) uint16 {
	if ip.Is4() {
		return unix.ETH_P_ARP
	}
	return unix.ETH_P_IPV6
}

// announcements are the frames that tell everybody on the link that ip is at this hardware address. There are devices that heed only
// one of the two forms of gratuitous ARP.
func announcements(ip netip.Addr, hardware net.HardwareAddr) [][]byte {
	if ip.Is4() {
		return [][]byte{
			arpFrame(arpRequest, hardware, ip, net.HardwareAddr{0, 0, 0, 0, 0, 0}, ip),
			arpFrame(arpReply, hardware, ip, hardware, ip),
		}
	}
	allNodes := netip.MustParseAddr("ff02::1")
	const override = 0x20000000
	body := neighbourBody(neighbourAdvertisement, override, ip)
	body = append(body, 2, 1) // option: target link-layer address, 8 bytes long
	body = append(body, hardware...)
	return [][]byte{icmpFrame(hardware, ip, allNodes, body)}
}

// question is the frame that asks who has ip without telling anything about who asks, as a probe must.
func question(ip netip.Addr, hardware net.HardwareAddr) []byte {
	if ip.Is4() {
		return arpFrame(arpRequest, hardware, netip.IPv4Unspecified(), net.HardwareAddr{0, 0, 0, 0, 0, 0}, ip)
	}
	raw := ip.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], raw[13:])
	return icmpFrame(hardware, netip.IPv6Unspecified(), netip.AddrFrom16(group), neighbourBody(neighbourSolicitation, 0, ip))
}

func arpFrame(operation uint16, sender net.HardwareAddr, senderIP netip.Addr, target net.HardwareAddr, targetIP netip.Addr) []byte {
	f := make([]byte, 0, 60)
	f = append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	f = append(f, sender...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_ARP)
	f = append(f, 0, 1, 0x08, 0, 6, 4) // Ethernet, IPv4, lengths of their addresses
	f = binary.BigEndian.AppendUint16(f, operation)
	f = append(append(f, sender...), senderIP.AsSlice()...)
	f = append(append(f, target...), targetIP.AsSlice()...)
	return f[:cap(f)] // the least that Ethernet carries
}

// neighbourBody is an ICMPv6 message of neighbour discovery without options; its checksum is yet to be filled in.
func neighbourBody(kind byte, flags uint32, target netip.Addr) []byte {
	b := []byte{kind, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, flags)
	return append(b, target.AsSlice()...)
}

// icmpFrame sends body to a multicast group.
func icmpFrame(hardware net.HardwareAddr, from, group netip.Addr, body []byte) []byte {
	to := group.As16()
	f := []byte{0x33, 0x33, to[12], to[13], to[14], to[15]}
	f = append(f, hardware...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(body)))
	f = append(f, unix.IPPROTO_ICMPV6, 255) // the hop limit that proves a sender on the link
	addresses := append(from.AsSlice(), to[:]...)
	binary.BigEndian.PutUint16(body[2:], checksum(addresses, body))
	return append(append(f, addresses...), body...)
}

// checksum is ICMPv6's, over the pseudo header, too.
func checksum(addresses, body []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	add(addresses)
	add(body)
	sum += uint32(len(body)) + unix.IPPROTO_ICMPV6
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// claims reads a frame and reports whether it says that somebody has ip, and at which hardware address.
func claims(frame []byte, ip netip.Addr) (net.HardwareAddr, bool) {
	if len(frame) < ethernetHeader || binary.BigEndian.Uint16(frame[12:]) != etherType(ip) {
		return nil, false
	}
	payload := frame[ethernetHeader:]
	if ip.Is4() {
		return arpClaims(payload, ip)
	}
	if len(payload) < ipv6Header+24 || payload[6] != unix.IPPROTO_ICMPV6 || payload[7] != 255 {
		return nil, false
	}
	body := payload[ipv6Header:]
	if body[0] != neighbourAdvertisement || body[1] != 0 || !bytes.Equal(body[8:24], ip.AsSlice()) {
		return nil, false
	}
	return frame[6:12], true
}

// arpClaims: whoever sends with an address has it, in a question as in an answer.
func arpClaims(payload []byte, ip netip.Addr) (net.HardwareAddr, bool) {
	if len(payload) < 28 || !bytes.Equal(payload[:6], []byte{0, 1, 0x08, 0, 6, 4}) {
		return nil, false
	}
	if operation := binary.BigEndian.Uint16(payload[6:]); operation != arpRequest && operation != arpReply {
		return nil, false
	}
	if !bytes.Equal(payload[14:18], ip.AsSlice()) {
		return nil, false
	}
	return payload[8:14], true
}
