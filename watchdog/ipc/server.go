package ipc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"gopgpool/logging"
)

const (
	connectionTime = 5 * time.Second // for the request, and again for the reply
	maxConnections = 32              // others wait in the listen queue
	acceptPause    = time.Second
	maxPath        = 107 // of a socket's name, without the NUL behind it
)

// ErrInUse is a socket at which somebody answers.
var ErrInUse = errors.New("another process answers at the watchdog's IPC socket")

// Config is where the socket is and who may use it.
type Config struct {
	Dir  string        // wd_ipc_socket_dir
	Port int           // this node's wd_portN, which is part of the socket's name
	Key  func() string // wd_authkey as it is now; nil or "": everybody who can connect may ask
}

// SocketPath is the name of the socket.
func SocketPath(dir string, port int) string {
	return filepath.Join(dir, ".s.PGPOOLWD_CMD."+strconv.Itoa(port))
}

// Server answers requests at a socket.
type Server struct {
	config   Config
	watchdog Watchdog
	log      logging.Logger
	listener *net.UnixListener
	patience time.Duration // with a client

	connections sync.WaitGroup
	places      chan struct{}

	mu   sync.Mutex
	open map[net.Conn]struct{} // nil once the server has ended
}

// New opens the socket, for this account alone, in place of a stale one; requests wait until Run. The error is ErrInUse if the socket
// is alive. Whoever does not call Run calls Close.
func New(c Config, w Watchdog, log logging.Logger) (*Server, error) {
	path := SocketPath(c.Dir, c.Port)
	listener, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("IPC socket %q: %w", path, err)
	}
	log.Log(logging.Event{Severity: logging.Info, Message: `IPC socket path: "` + path + `"`})
	return &Server{
		config: c, watchdog: w, log: log, listener: listener, patience: connectionTime,
		places: make(chan struct{}, maxConnections), open: make(map[net.Conn]struct{}),
	}, nil
}

func listen(path string) (*net.UnixListener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("the name of a socket has at most %d bytes, this one %d", maxPath, len(path))
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	var timeout net.Error
	switch {
	case err == nil:
		_ = conn.Close()
		return nil, ErrInUse
	case errors.Is(err, syscall.EAGAIN), errors.As(err, &timeout) && timeout.Timeout(): // it is busy
		return nil, ErrInUse
	case errors.Is(err, syscall.ECONNREFUSED):
		err = removeStale(path)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// removeStale removes the socket of a process that ended without doing so, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("a file that is no socket is in its place")
	}
	return os.Remove(path)
}

// Close closes the socket and removes it.
func (s *Server) Close() error { return s.listener.Close() }

// Run answers requests until ctx ends, and then removes the socket. It returns when no request is being answered any more.
func (s *Server) Run(ctx context.Context) error {
	defer s.connections.Wait()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(ended); s.end() })
	defer func() {
		if stop() {
			s.end()
			return
		}
		<-ended
	}()
	for {
		select {
		case s.places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := s.listener.Accept()
		switch {
		case err == nil:
			s.connections.Go(func() { s.serve(conn) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // no descriptors, for one
			<-s.places
			s.log.Log(logging.Event{Severity: logging.Warning, Message: "accepting a connection at the IPC socket", Detail: err.Error()})
			pause(ctx, acceptPause)
		}
	}
}

// end closes the socket and all connections.
func (s *Server) end() {
	_ = s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.open {
		_ = conn.Close()
	}
	s.open = nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// serve answers one request.
func (s *Server) serve(conn net.Conn) {
	defer func() { <-s.places }()
	defer conn.Close()
	if !s.enter(conn) {
		return
	}
	defer s.leave(conn)
	v, ok := s.hear(conn)
	if !ok {
		return
	}
	if v.event.Message != "" {
		s.log.Log(v.event)
	}
	if v.reply.typ != 0 {
		_ = conn.SetWriteDeadline(time.Now().Add(s.patience))
		_, _ = conn.Write(appendMessage(nil, v.reply.typ, v.reply.data)) // a client that left is owed nothing
	}
}

// hear reads the request and judges it; ok is false if the client left or took too long.
func (s *Server) hear(conn net.Conn) (v verdict, ok bool) {
	_ = conn.SetReadDeadline(time.Now().Add(s.patience))
	m, err := readMessage(conn, maxRequest)
	switch {
	case errors.Is(err, errTooLong):
		return invalidData(false), true
	case err != nil:
		return verdict{}, false
	}
	key := ""
	if s.config.Key != nil {
		key = s.config.Key()
	}
	return answer(m, key, s.watchdog), true
}

func (s *Server) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	s.open[conn] = struct{}{}
	return true
}

func (s *Server) leave(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
}
