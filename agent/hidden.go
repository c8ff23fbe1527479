package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errHidden is a server that only seems to be stopped. To take it for stopped would be the end of its data: its files would be replaced, or a
// second server started on them.
var errHidden = errors.New("the server is at work where its processes cannot be seen or counted on: in another container or PID namespace")

// hidden reports a server in another PID namespace, as of a container whose data directory alone is shared with us. Numbers in its files mean
// other processes here, or none.
func (p *place) hidden() error {
	g := p.gang()
	for _, one := range g.all {
		if apart(one.pid) {
			return fmt.Errorf("%w (process %d)", errHidden, one.pid)
		}
	}
	f := p.pidFile()
	if len(g.all) > 0 || f.pid == 0 || f.port == 0 {
		return nil
	}
	if f.answersUnseen() {
		return fmt.Errorf("%w (it answers at port %d)", errHidden, f.port)
	}
	return nil
}

// apart reports whether a process is in another PID namespace than we.
func apart(pid int) bool {
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return false
	}
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	return err == nil && its != own
}

// knockTime bounds the attempt to connect to a server that should not be there.
const knockTime = 200 * time.Millisecond

// answersUnseen reports whether somebody we cannot see serves at the server's addresses. The kernel tells who listens at a socket in the
// file system, as far as he is in our namespace; of one in the network only that he is nobody we know.
func (f pidFile) answersUnseen() bool {
	port := strconv.Itoa(f.port)
	if strings.HasPrefix(f.socketDir, "/") {
		c, err := net.DialTimeout("unix", filepath.Join(f.socketDir, ".s.PGSQL."+port), knockTime)
		if err == nil {
			defer c.Close()
			return unseenPeer(c)
		}
	}
	if f.listens == "" || serversSeen() {
		return false
	}
	host := f.listens
	if ip := net.ParseIP(host); host == "*" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), knockTime)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// unseenPeer reports whether the process that listens has no number here, or one that means another process to itself.
func unseenPeer(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	unseen := false
	err = raw.Control(func(fd uintptr) {
		cred, wrong := unix.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		unseen = wrong == nil && (cred.Pid == 0 || apart(int(cred.Pid)))
	})
	return err == nil && unseen
}

// serversSeen reports whether any server runs here: then it may be that one which answers.
func serversSeen() bool {
	for _, one := range processes() {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", one.pid))
		if err == nil && filepath.Base(strings.TrimSuffix(exe, deleted)) == "postgres" {
			return true
		}
	}
	return false
}
