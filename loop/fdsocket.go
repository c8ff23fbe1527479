package loop

import (
	"net"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fdSocket is a non-blocking descriptor. Its calls return at once, so Go's scheduler need not know of them.
type fdSocket int

func (f fdSocket) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(f), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch e {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, errAgain
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("read", e)
		}
	}
}

func (f fdSocket) write(b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(f), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, errAgain
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("write", e)
		}
	}
}

func (f fdSocket) pending() bool {
	var b [1]byte
	for {
		_, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(f), uintptr(unsafe.Pointer(&b[0])), 1, unix.MSG_PEEK, 0, 0)
		if e != unix.EINTR {
			return e != unix.EAGAIN
		}
	}
}

func (f fdSocket) close() { unix.Close(int(f)) }

// abort disconnects a TCP socket, which throws its send queue away. A unix socket has none: what was written is with the peer.
func (f fdSocket) abort() {
	_ = unix.SetsockoptLinger(int(f), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	// connect(AF_UNSPEC), which x/sys has no Sockaddr for
	unspecified := [16]byte{0: unix.AF_UNSPEC}
	_, _, _ = unix.Syscall(unix.SYS_CONNECT, uintptr(f), uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	_ = unix.Shutdown(int(f), unix.SHUT_RDWR)
}

func (f fdSocket) local() net.Addr {
	sa, err := unix.Getsockname(int(f))
	if err != nil {
		return nil
	}
	return addrOf(sa)
}

func (f fdSocket) remote() net.Addr {
	sa, err := unix.Getpeername(int(f))
	if err != nil {
		return nil
	}
	return addrOf(sa)
}

// addrOf turns a socket address into Go's.
func addrOf(sa unix.Sockaddr) net.Addr {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
	case *unix.SockaddrInet6:
		addr := &net.TCPAddr{IP: a.Addr[:], Port: a.Port}
		if a.ZoneId != 0 {
			addr.Zone = strconv.FormatUint(uint64(a.ZoneId), 10)
		}
		return addr
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: a.Name, Net: "unix"}
	}
	return nil
}
