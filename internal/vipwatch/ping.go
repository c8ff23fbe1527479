package vipwatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pinger sends ICMP echo requests and waits for the answers.
type pinger struct {
	watch  *Watch
	socket *os.File
	id     uint16

	mu      sync.Mutex // guards what follows
	pending map[uint16]time.Duration
}

// Types of ICMP.
const (
	echoReply   = 0
	echoRequest = 8
)

func (w *Watch) newPinger() (*pinger, error) {
	p := &pinger{watch: w, id: 0x6770, pending: map[uint16]time.Duration{}}
	err := w.opts.Client.Within(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMP)
		if err != nil {
			return err
		}
		p.socket = os.NewFile(uintptr(fd), "icmp")
		return unix.Connect(fd, &unix.SockaddrInet4{Addr: w.opts.VIP.As4()})
	})
	if err != nil {
		return nil, fmt.Errorf("ping: %w", err)
	}
	return p, nil
}

// send asks every 50 ms, and gives up on what was not answered in time.
func (p *pinger) send(ctx context.Context) error {
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	for seq := uint16(0); ; seq++ {
		now := p.watch.Now()
		p.giveUp(now - replyLimit)
		p.mu.Lock()
		p.pending[seq] = now
		p.mu.Unlock()
		if _, err := p.socket.Write(echo(p.id, seq)); err != nil && ctx.Err() == nil {
			p.settle(seq, reason(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *pinger) giveUp(before time.Duration) {
	p.mu.Lock()
	var late []uint16
	for seq, began := range p.pending {
		if began < before {
			late = append(late, seq)
		}
	}
	p.mu.Unlock()
	for _, seq := range late {
		p.settle(seq, "no answer")
	}
}

// settle enters what became of a ping.
func (p *pinger) settle(seq uint16, said string) {
	p.mu.Lock()
	began, ok := p.pending[seq]
	delete(p.pending, seq)
	p.mu.Unlock()
	if !ok {
		return
	}
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	p.watch.record.Pings = append(p.watch.record.Pings, Attempt{Began: began, Ended: p.watch.Now(), Err: said})
}

// listen reads answers until ctx ends, and closes the socket then.
func (p *pinger) listen(ctx context.Context) error {
	defer p.socket.Close()
	stop := context.AfterFunc(ctx, func() { _ = p.socket.SetReadDeadline(time.Now()) }) // or it is closed
	defer stop()
	buf := make([]byte, 1500)
	for {
		n, err := p.socket.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.ECONNREFUSED) {
				continue // an error of a packet that was sent
			}
			return fmt.Errorf("ping: %w", err)
		}
		if seq, ok := answered(buf[:n], p.id); ok {
			p.settle(seq, "")
		}
	}
}

// echo is a request.
func echo(id, seq uint16) []byte {
	b := make([]byte, 16)
	b[0] = echoRequest
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// answered finds the number of the request in an IPv4 packet with an answer.
func answered(packet []byte, id uint16) (seq uint16, ok bool) {
	if len(packet) < 1 {
		return 0, false
	}
	head := int(packet[0]&15) * 4
	if len(packet) < head+8 || packet[head] != echoReply || binary.BigEndian.Uint16(packet[head+4:]) != id {
		return 0, false
	}
	return binary.BigEndian.Uint16(packet[head+6:]), true
}

// checksum is the Internet's: the complement of the sum of 16-bit words in ones' complement. b has an even length.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
