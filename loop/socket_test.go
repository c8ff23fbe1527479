package loop

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen makes a listening, non-blocking socket and tells its address.
func (w *world) listen(network, address string, backlog int) (int, net.Addr) {
	w.Helper()
	var addr net.Addr
	var err error
	if network == "unix" {
		addr = &net.UnixAddr{Name: address, Net: network}
	} else if addr, err = net.ResolveTCPAddr(network, address); err != nil {
		w.Fatal(err)
	}
	family, sa, err := sockaddr(addr)
	if err != nil {
		w.Fatal(err)
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, sa), unix.Listen(fd, backlog))
	}
	if err != nil {
		w.Fatal(err)
	}
	if sa, err = unix.Getsockname(fd); err != nil {
		w.Fatal(err)
	}
	return fd, addrOf(sa)
}

// Clients that arrive all at once are all served, though serving one of them panics.
func TestAcceptUnderLoad(t *testing.T) {
	onEpoll(t, func(w *world) {
		const clients = 400
		fd, addr := w.listen("tcp4", "127.0.0.1:0", 4096)
		served := 0
		w.start("accept", func(t *Task) {
			Accept(t, fd, func(fd int, from net.Addr) {
				if ip := from.(*net.TCPAddr).IP; !ip.IsLoopback() {
					w.Errorf("from %v", from)
				}
				if served++; served == 3 {
					unix.Close(fd)
					explode("serve bang")
				}
				t.Loop().Go("session", func(t *Task) {
					c, err := t.Adopt(fd)
					if err != nil {
						w.Error(err)
						return
					}
					echo(t, c)
				})
			}, func(err error) { w.Error(err) })
		})
		lost := make(chan error, clients)
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				if err := ask(addr); err != nil {
					lost <- err
				}
			})
		}
		wg.Wait()
		w.panicked("accept: serve bang")
		if len(lost) != 1 {
			w.Errorf("%d clients were not served, first %v", len(lost), <-lost)
		}
		w.end()
		if _, err := net.Dial(addr.Network(), addr.String()); err == nil {
			w.Error("the listening socket outlived the loop")
		}
	})
}

// ask is a client of echo.
func ask(addr net.Addr) error {
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 5))
	return err
}

// A socket that cannot be accepted from is reported, not spun upon.
func TestAcceptFails(t *testing.T) {
	onEpoll(t, func(w *world) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			w.Fatal(err)
		}
		var times []time.Time
		<-w.start("accept", func(t *Task) {
			unix.Close(fds[1]) // makes it readable
			Accept(t, fds[0], func(fd int, _ net.Addr) { w.Errorf("accepted %d", fd) }, func(err error) {
				if !errors.Is(err, unix.EINVAL) {
					w.Errorf("failed: %v", err)
				}
				if times = append(times, t.Now()); len(times) == 2 {
					t.Stop()
				}
			})
		})
		if d := times[1].Sub(times[0]); d < acceptRetry {
			w.Errorf("tried again after %v", d)
		}

		failed := 0
		<-w.start("accept", func(t *Task) {
			Accept(t, -1, nil, func(error) { failed++ })
		})
		if failed != 1 {
			w.Errorf("a bad descriptor failed %d times", failed)
		}
	})
}

func TestDial(t *testing.T) {
	for _, tt := range []struct{ name, network, address string }{
		{"tcp4", "tcp4", "127.0.0.1:0"},
		{"tcp6", "tcp6", "[::1]:0"},
		{"unix", "unix", "dial.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.network == "tcp6" && !hasIPv6(t) {
				t.Skip("the machine has no ::1")
			}
			onEpoll(t, func(w *world) {
				address := tt.address
				if tt.network == "unix" {
					address = filepath.Join(t.TempDir(), address)
				}
				fd, addr := w.listen(tt.network, address, 8)
				w.start("accept", func(t *Task) {
					Accept(t, fd, func(fd int, _ net.Addr) {
						t.Loop().Go("session", func(t *Task) {
							c, err := t.Adopt(fd)
							if err == nil {
								echo(t, c)
							}
						})
					}, func(err error) { w.Error(err) })
				})
				<-w.start("client", func(t *Task) {
					c, err := t.Dial(addr, t.Now().Add(time.Minute))
					if err != nil {
						w.Error(err)
						return
					}
					if c.RemoteAddr().String() != addr.String() || c.LocalAddr() == nil || c.FD() < 0 {
						w.Errorf("connected to %v from %v", c.RemoteAddr(), c.LocalAddr())
					}
					_, _ = c.Write([]byte("hello"))
					b := make([]byte, 5)
					if _, err := io.ReadFull(struct{ io.Reader }{c}, b); err != nil || string(b) != "hello" {
						w.Errorf("%q, %v", b, err)
					}
				})
			})
		})
	}
}

func hasIPv6(t *testing.T) bool {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func TestDialFails(t *testing.T) {
	onEpoll(t, func(w *world) {
		// A port that was just free: bound, not listening.
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			w.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			w.Fatal(err)
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			w.Fatal(err)
		}
		for _, tt := range []struct {
			name string
			addr net.Addr
			want error
			text string
		}{
			{"refused", addrOf(sa), unix.ECONNREFUSED, "connection refused"},
			{"no such socket", &net.UnixAddr{Name: filepath.Join(w.TempDir(), "none")}, unix.ENOENT, "no such file"},
			{"path too long", &net.UnixAddr{Name: "/" + strings.Repeat("x", 200)}, unix.EINVAL, "invalid argument"},
			{"no address", &net.TCPAddr{Port: 5432}, nil, "invalid address"},
			{"no such zone", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 5432, Zone: "nowhere"}, nil, "no such network interface"},
			{"datagrams", &net.UDPAddr{}, nil, "unsupported address"},
		} {
			<-w.start(tt.name, func(t *Task) {
				c, err := t.Dial(tt.addr, time.Time{})
				var de *DialError
				if c != nil || !errors.As(err, &de) || de.Timeout() || de.Addr != tt.addr.String() {
					w.Errorf("%s: %v, %v", tt.name, c, err)
					return
				}
				if tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
					w.Errorf("%s: %v", tt.name, err)
				}
			})
		}
	})
}

// fill connects to a listening socket until its queue is full.
func (w *world) fill(fd int, addr net.Addr) (release func()) {
	w.Helper()
	family, sa, err := sockaddr(addr)
	if err != nil {
		w.Fatal(err)
	}
	var fds []int
	for range 64 {
		c, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			w.Fatal(err)
		}
		fds = append(fds, c)
		if err := unix.Connect(c, sa); err == unix.EAGAIN {
			break
		}
	}
	return func() {
		for _, c := range append(fds, fd) {
			unix.Close(c)
		}
	}
}

// A host that does not answer: the queue of the listening socket is full.
func TestDialTimeout(t *testing.T) {
	for _, tt := range []struct{ name, network, address string }{
		{"tcp4", "tcp4", "127.0.0.1:0"},
		{"unix", "unix", "full.sock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEpoll(t, func(w *world) {
				address := tt.address
				if tt.network == "unix" {
					address = filepath.Join(t.TempDir(), address)
				}
				fd, addr := w.listen(tt.network, address, 1)
				defer w.fill(fd, addr)()
				<-w.start("client", func(t *Task) {
					until := t.Now().Add(20 * time.Millisecond)
					t.Wake()
					_, err := t.Dial(addr, until)
					var de *DialError
					if !errors.As(err, &de) || !de.Timeout() || t.Now().Before(until) {
						w.Errorf("%v, %v before time", err, until.Sub(t.Now()))
					}
					if got := t.Wait(time.Time{}); got != Woken {
						w.Errorf("the wake-up was lost: %d", got)
					}
				})
				began := make(chan struct{})
				done := w.start("stopped", func(t *Task) {
					w.l.Post(func() { close(began) })
					_, err := t.Dial(addr, time.Time{})
					if err != ErrStopped { //nolint:errorlint // bare by contract
						w.Errorf("stopped: %v", err)
					}
				})
				<-began
				w.cancel()
				<-done
			})
		})
	}
}

// A unix socket whose queue is full is tried again: it answers when there is room.
func TestDialWhenThereIsRoom(t *testing.T) {
	onEpoll(t, func(w *world) {
		fd, addr := w.listen("unix", filepath.Join(w.TempDir(), "busy.sock"), 1)
		defer w.fill(fd, addr)()
		began := make(chan struct{})
		done := w.start("client", func(t *Task) {
			w.l.Post(func() { close(began) })
			if _, err := t.Dial(addr, t.Now().Add(time.Minute)); err != nil {
				w.Error(err)
			}
		})
		<-began
		for {
			c, _, err := unix.Accept(fd)
			if err != nil {
				break
			}
			unix.Close(c)
		}
		<-done
	})
}

func TestSelfConnected(t *testing.T) {
	for _, tt := range []struct {
		name   string
		family int
		addr   unix.Sockaddr
	}{
		{"IPv4", unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}},
		{"IPv6", unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.family == unix.AF_INET6 && !hasIPv6(t) {
				t.Skip("the machine has no ::1")
			}
			fd, err := unix.Socket(tt.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if selfConnected(fd) {
				t.Error("before it is connected")
			}
			if err := unix.Bind(fd, tt.addr); err != nil {
				t.Fatal(err)
			}
			own, err := unix.Getsockname(fd)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.Connect(fd, own); err != nil {
				t.Fatal(err)
			}
			if !selfConnected(fd) {
				t.Error("not seen")
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		sa   unix.Sockaddr
		want string
	}{
		{&unix.SockaddrInet4{Port: 1, Addr: [4]byte{192, 0, 2, 1}}, "192.0.2.1:1"},
		{&unix.SockaddrInet6{Port: 2, Addr: [16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}}, "[2001:db8::1]:2"},
		{&unix.SockaddrInet6{Port: 3, Addr: [16]byte{0xfe, 0x80, 15: 1}, ZoneId: 4}, "[fe80::1%4]:3"},
		{&unix.SockaddrUnix{Name: "/tmp/x"}, "/tmp/x"},
	} {
		if got := addrOf(tt.sa).String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	if got := addrOf(nil); got != nil {
		t.Errorf("%v of nothing", got)
	}
}

// A connection moves to another loop with what it had to say.
func TestReleaseAndAdopt(t *testing.T) {
	onEpoll(t, func(w *world) {
		other, err := New(8, w.reports)
		if err != nil {
			w.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- other.Run(ctx) }()

		moved := make(chan Loose, 1)
		p, done := w.connected("first", func(_ *Task, c *Conn) {
			b := make([]byte, 2)
			if n, err := c.Read(b); n != 2 || err != nil {
				w.Errorf("%q, %v", b[:n], err)
			}
			l := c.Release()
			if !c.Closed() || c.Owner() != nil || l.FD < 0 {
				w.Errorf("released %d: closed %v, owner %v", l.FD, c.Closed(), c.Owner())
			}
			c.Close()
			moved <- l
		})
		_, _ = p.Write([]byte("abcd"))
		<-done
		second := make(chan struct{})
		other.GoFrom("second", func(t *Task) {
			defer close(second)
			c, err := t.AdoptLoose(<-moved)
			if err != nil {
				w.Error(err)
				return
			}
			echo(t, c)
		})
		_, _ = p.Write([]byte("ef"))
		_ = p.CloseWrite()
		got, err := io.ReadAll(p)
		if string(got) != "cdef" || err != nil {
			w.Errorf("%q, %v", got, err)
		}
		<-second
		cancel()
		w.isErr("Run", <-ran, nil)
	})
}

func TestAdoptFails(t *testing.T) {
	onEpoll(t, func(w *world) {
		f, err := os.Open(os.DevNull)
		if err != nil {
			w.Fatal(err)
		}
		defer f.Close()
		<-w.start("task", func(t *Task) {
			p := w.l.poll.(*epoll)
			free := len(p.free)
			for _, fd := range []int{-1, int(f.Fd())} {
				if c, err := t.Adopt(fd); err == nil {
					w.Errorf("adopted %d: %v", fd, c)
				}
			}
			if len(t.conns) != 0 || len(p.free) != free+1 {
				w.Errorf("%d connections, %d free slots", len(t.conns), len(p.free))
			}
		})
	})
}

// An event that was under way for a closed connection does not reach the next one in its slot.
func TestStaleEvent(t *testing.T) {
	onEpoll(t, func(w *world) {
		_, done := w.connected("session", func(t *Task, c *Conn) {
			p := w.l.poll.(*epoll)
			stale := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(c.slot), Pad: p.slots[c.slot].gen}
			c.Close()
			p.deliver(&stale)
			next, far, err := w.pair(t)
			if err != nil {
				w.Error(err)
				return
			}
			defer far.Close()
			if next.slot != c.slot {
				w.Errorf("the slot %d was not used again but %d", c.slot, next.slot)
			}
			if p.deliver(&stale); next.Readable() || next.HungUp() {
				w.Error("the event reached another connection")
			}
			stale.Pad = p.slots[next.slot].gen
			if p.deliver(&stale); !next.Readable() || !next.HungUp() {
				w.Error("the event did not reach its connection")
			}
		})
		<-done
	})
}
