package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"gopgpool/conf"
	"gopgpool/logging"
)

// unixBacklog is the listen queue of unix sockets; TCP's follows num_init_children.
const unixBacklog = 10000

// listeners are the sockets clients connect to.
type listeners struct {
	fds   []int
	paths []string // of unix sockets, to be removed at the end
}

// listen opens the TCP and unix sockets of the configuration. As in Pgpool-II an address that cannot be used is a warning;
// that no unix socket directory can be used, or that nobody could connect at all, is an error.
func listen(c *conf.Config, log logging.Logger) (*listeners, error) {
	l := &listeners{}
	backlog := conf.Backlog(c.Pool.NumInitChildren, c.Pool.ListenBacklogMultiplier)
	for _, name := range c.Connections.ListenAddresses {
		l.tcp(name, c.Connections.Port, backlog, log)
	}
	if err := l.unixSockets(&c.Connections, log); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *listeners) tcp(name string, port, backlog int, log logging.Logger) {
	addrs, err := listenAddresses(name)
	for _, a := range addrs {
		var fd int
		if fd, err = listenTCP(a, port, backlog); err == nil {
			l.fds = append(l.fds, fd)
			continue
		}
		warnListen(log, net.JoinHostPort(a.String(), strconv.Itoa(port)), err)
	}
	if len(addrs) == 0 {
		warnListen(log, name, err)
	}
}

func warnListen(log logging.Logger, where string, err error) {
	log.Log(logging.Event{
		Severity: logging.Warning, Message: fmt.Sprintf("could not listen on %q", where), Detail: err.Error(),
	})
}

// listenAddresses resolves one element of listen_addresses.
func listenAddresses(name string) ([]netip.Addr, error) {
	if name == "*" {
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}, nil
	}
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	found, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", name)
	if err != nil {
		return nil, err
	}
	seen := make(map[netip.Addr]bool)
	var out []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	return out, nil
}

func listenTCP(a netip.Addr, port, backlog int) (fd int, err error) {
	family := unix.AF_INET
	var sa unix.Sockaddr
	if a.Is4() {
		sa = &unix.SockaddrInet4{Port: port, Addr: a.As4()}
	} else {
		family = unix.AF_INET6
		sa = &unix.SockaddrInet6{Port: port, Addr: a.As16()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil && family == unix.AF_INET6 {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

var errNoSocket = errors.New("no unix socket directory can be used")

func (l *listeners) unixSockets(c *conf.Connections, log logging.Logger) error {
	gid, err := socketGroup(c.UnixSocketGroup)
	if err != nil {
		return err
	}
	opened := 0
	for _, dir := range c.UnixSocketDirectories {
		path := filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(c.Port))
		fd, err := listenUnix(path, gid, c.UnixSocketPermissions)
		if err != nil {
			warnListen(log, path, err)
			continue
		}
		l.fds = append(l.fds, fd)
		l.paths = append(l.paths, path)
		opened++
	}
	if opened == 0 && len(c.UnixSocketDirectories) > 0 {
		return errNoSocket
	}
	return nil
}

// socketGroup is unix_socket_group as a number, -1 if it is empty.
func socketGroup(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("unix_socket_group %q does not exist", name)
	}
	return strconv.Atoi(g.Gid)
}

func listenUnix(path string, gid int, mode uint32) (fd int, err error) {
	if len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return 0, errors.New("the path is too long for a socket")
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(path) // left by a process that is gone: the pid file tells that none runs
	}
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err == nil {
		err = errors.Join(os.Chown(path, -1, gid), os.Chmod(path, os.FileMode(mode)))
		if err == nil {
			err = unix.Listen(fd, unixBacklog)
		}
	}
	if err != nil {
		unix.Close(fd)
		_ = os.Remove(path)
		return 0, err
	}
	return fd, nil
}

// close is for a start that failed: once the proxy has the descriptors, only the files are left to be removed.
func (l *listeners) close() {
	for _, fd := range l.fds {
		unix.Close(fd)
	}
	l.removeFiles()
}

func (l *listeners) removeFiles() {
	for _, p := range l.paths {
		_ = os.Remove(p)
	}
}
