package loop

import (
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// acceptsPerTurn bounds how long a burst of arrivals keeps the loop from its sessions.
const acceptsPerTurn = 64

// Accept runs as a task: it takes connections from a listening, non-blocking descriptor, which it owns from now on, and
// hands each to serve, until the task is stopped. The descriptor fd given to serve is serve's; serve must not wait. A
// shortage of descriptors or memory is reported through failed and waited out.
func Accept(t *Task, fd int, serve func(fd int, from net.Addr), failed func(error)) {
	ln, err := t.Adopt(fd)
	if err != nil {
		unix.Close(fd)
		failed(err)
		return
	}
	for n := 1; t.Wait(time.Time{}, Interest{Conn: ln, Read: true}) != Stopped; n++ {
		if n%acceptsPerTurn == 0 {
			t.Yield()
		}
		conn, sa, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			t.loop.serve(serve, conn, addrOf(sa))
		case unix.EAGAIN:
			ln.readable = false
		case unix.EINTR, unix.ECONNABORTED:
		default:
			failed(os.NewSyscallError("accept", err))
			t.Sleep(acceptRetry)
		}
	}
}

// serve keeps a panic over one arrival from ending the acceptance of others.
func (l *Loop) serve(serve func(int, net.Addr), fd int, from net.Addr) {
	defer l.caught("accept")
	serve(fd, from)
}

// acceptRetry is how long Accept waits after an error such as "too many open files".
const acceptRetry = 200 * time.Millisecond
