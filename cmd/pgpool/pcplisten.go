package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"gopgpool/conf"
	"gopgpool/logging"
)

// pcpBacklog is the listen queue for administrators.
const pcpBacklog = 128

var errNoPCPSocket = errors.New("no directory of pcp_socket_dir can be used")

// listenPCP opens the sockets of the administration protocol. An address that cannot be used is a warning; that no directory can is an
// error. A socket file that somebody still answers at is left alone.
func listenPCP(c *conf.Connections, log logging.Logger) (*listeners, error) {
	l := &listeners{}
	for _, name := range c.PcpListenAddresses {
		l.tcp(name, c.PcpPort, pcpBacklog, log)
	}
	opened := 0
	for _, dir := range c.PcpSocketDir {
		path := filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(c.PcpPort))
		fd, err := listenUnused(path)
		if err != nil {
			warnListen(log, path, err)
			continue
		}
		l.fds, l.paths = append(l.fds, fd), append(l.paths, path)
		opened++
	}
	if opened == 0 && len(c.PcpSocketDir) > 0 {
		l.close()
		return nil, errNoPCPSocket
	}
	return l, nil
}

func listenUnused(path string) (fd int, err error) {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return 0, unix.EADDRINUSE
	}
	return listenUnix(path, -1, 0o777)
}

// take hands the sockets over as listeners.
func (l *listeners) take() ([]net.Listener, error) {
	var out []net.Listener
	var errs []error
	for i, fd := range l.fds {
		f := os.NewFile(uintptr(fd), "pcp socket "+strconv.Itoa(i))
		listener, err := net.FileListener(f) // a copy of the descriptor
		errs = append(errs, err, f.Close())
		if err == nil {
			out = append(out, listener)
		}
	}
	l.fds = nil
	return out, errors.Join(errs...)
}
