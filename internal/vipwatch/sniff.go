package vipwatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sniffer asks on the client's network who has the address, and notes who says so, asked or not. The questions come from an address
// and a sender that do not exist: the client's kernel must not learn from the answers, for in life nobody asks in its place.
type sniffer struct {
	watch  *Watch
	socket *os.File
	names  map[[6]byte]string // whose hardware address it is
}

// asker is the hardware address a question comes from, locally administered: its number is in it, and so in the answers.
func asker(question uint32) [6]byte {
	return [6]byte{0x02, 0xa5, 0xce, byte(question >> 16), byte(question >> 8), byte(question)}
}

// asked is the number of the question that an answer to a hardware address belongs to; 0 for somebody else's.
func asked(who [6]byte) uint32 {
	question := uint32(who[3])<<16 | uint32(who[4])<<8 | uint32(who[5])
	if who != asker(question) {
		return 0
	}
	return question
}

const (
	arpRequest = 1
	arpReply   = 2
)

func (w *Watch) newSniffer() (*sniffer, error) {
	s := &sniffer{watch: w, names: map[[6]byte]string{}}
	for _, h := range w.opts.Hosts {
		err := h.Within(func() error {
			devices, err := net.Interfaces()
			for _, d := range devices {
				if len(d.HardwareAddr) == 6 {
					s.names[[6]byte(d.HardwareAddr)] = h.Name
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	err := w.opts.Client.Within(func() error {
		device, err := net.InterfaceByName(w.opts.Device)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(bigEndian(unix.ETH_P_ARP)))
		if err != nil {
			return err
		}
		s.socket = os.NewFile(uintptr(fd), "arp")
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ARP), Ifindex: device.Index})
	})
	if err != nil {
		return nil, fmt.Errorf("sniffer: %w", err)
	}
	return s, nil
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

// ask asks every 50 ms.
func (s *sniffer) ask(ctx context.Context) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for n := uint32(1); ; n++ {
		if _, err := s.socket.Write(question(s.watch.opts.VIP, n)); err != nil && ctx.Err() == nil {
			return fmt.Errorf("sniffer: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// listen notes answers until ctx ends, and closes the socket then.
func (s *sniffer) listen(ctx context.Context) error {
	defer s.socket.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.socket.SetReadDeadline(time.Now()) }) // or it is closed
	defer stop()
	buf := make([]byte, 1500)
	for {
		n, err := s.socket.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sniffer: %w", err)
		}
		if sender, a, ok := claim(buf[:n], s.watch.opts.VIP); ok {
			a.At, a.Host = s.watch.Now(), s.names[sender]
			s.enter(a)
		}
	}
}

func (s *sniffer) enter(a Answer) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.record.Answers = append(s.watch.record.Answers, a)
}

// Offsets in an Ethernet frame with an ARP packet for IPv4.
const (
	frameLength  = 42
	ofType       = 12
	ofOperation  = 20
	ofSender     = 22 // hardware address
	ofSenderIP   = 28
	ofTarget     = 32
	ofTargetIP   = 38
	addressBytes = 4
)

// question is a frame that asks everybody who has ip, as one does who wants it for itself.
func question(ip netip.Addr, number uint32) []byte {
	b, who := make([]byte, frameLength), asker(number)
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	copy(b[6:], who[:])
	binary.BigEndian.PutUint16(b[ofType:], unix.ETH_P_ARP)
	copy(b[14:], []byte{0, 1, 8, 0, 6, 4, 0, arpRequest})
	copy(b[ofSender:], who[:])
	copy(b[ofTargetIP:], ip.AsSlice())
	return b
}

// claim finds out who says in a frame that it has ip, and to what question. It is an announcement if it was sent to everybody.
func claim(frame []byte, ip netip.Addr) (sender [6]byte, a Answer, ok bool) {
	if len(frame) < frameLength || binary.BigEndian.Uint16(frame[ofType:]) != unix.ETH_P_ARP {
		return sender, a, false
	}
	if netip.AddrFrom4([4]byte(frame[ofSenderIP:ofSenderIP+addressBytes])) != ip {
		return sender, a, false
	}
	operation := binary.BigEndian.Uint16(frame[ofOperation:])
	aboutItself := netip.AddrFrom4([4]byte(frame[ofTargetIP:ofTargetIP+addressBytes])) == ip
	if operation != arpReply && !aboutItself {
		return sender, a, false // it asks for another one, from this address
	}
	if a.Announcement = aboutItself; !aboutItself {
		a.Question = asked([6]byte(frame[ofTarget:ofTargetIP]))
	}
	return [6]byte(frame[ofSender:ofTarget]), a, true
}
