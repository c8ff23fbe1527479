package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// crowd is a number of clients that are held open.
type crowd struct {
	Mode    poolMode `json:"pool_mode"`
	Clients int      `json:"clients"`
	// Prepared: each has run one prepared statement, the same. Otherwise they have logged in and sent nothing.
	Prepared bool `json:"prepared"`
}

// crowds are those that are measured.
func crowds() []crowd {
	return []crowd{
		{Mode: sessionMode, Clients: idleSessions},
		{Mode: transactionMode, Clients: mostIdle},
		{Mode: transactionMode, Clients: mostIdle, Prepared: true},
	}
}

const (
	idleSessions = 5000
	mostIdle     = 10000
)

// id names the crowd for the -rows filter.
func (c crowd) id() string {
	did := "login"
	if c.Prepared {
		did = "prepared"
	}
	return fmt.Sprintf("idle/%s/%d/%s", c.Mode, c.Clients, did)
}

// what the crowd is, in words.
func (c crowd) what() string {
	did := "logged in, no statement sent"
	if c.Prepared {
		did = "have run a prepared statement each"
	}
	return fmt.Sprintf("%s mode, %s", c.Mode, did)
}

// capacity is what a proxy is set up for.
func (c crowd) capacity() capacity {
	size := capacity{mode: c.Mode, clients: c.Clients + 20, servers: c.Clients + 20}
	if c.Mode == transactionMode {
		size.servers = poolSize
	}
	return size
}

// idleResult is what one contender needs for a crowd. Memory in bytes.
type idleResult struct {
	crowd
	Contender         string `json:"contender"`
	Before            int64  `json:"memory_before_bytes"`
	After             int64  `json:"memory_with_clients_bytes"`
	ServerConnections int    `json:"server_connections"`
	Error             string `json:"error,omitempty"`
}

func (i idleResult) perClient() int64 {
	if i.Clients == 0 {
		return 0
	}
	return (i.After - i.Before) / int64(i.Clients)
}

// raiseFileLimit makes room for that many descriptors, here and in the children. It tells the shortfall.
func raiseFileLimit(want uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Max = max(limit.Max, want) // only root may
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit.Max, Max: limit.Max}); err == nil {
		return nil
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	// Setting it at all, even to what it is, makes the children inherit the raised soft limit.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: limit.Max, Max: limit.Max}); err != nil {
		return err
	}
	return fmt.Errorf("%d open files are allowed, %d idle clients need %d: raise the limit (ulimit -Hn)", limit.Max, mostIdle, want)
}

// idleFileLimit: a proxy has a descriptor for each client and at worst, in session mode, one for each server connection.
const idleFileLimit = max(2*idleSessions, mostIdle) + 500

// measureIdle holds the clients open through c and looks at its memory.
func measureIdle(ctx context.Context, c *contender, of crowd, serverConnections func(context.Context) (int, error)) idleResult {
	result := idleResult{Contender: c.name, crowd: of}
	err := func() (err error) {
		if result.Before, err = settledMemory(ctx, c); err != nil {
			return err
		}
		h, err := startHolder(ctx, c.port, of)
		if err != nil {
			return err
		}
		defer h.stop()
		if err := h.ready(ctx); err != nil {
			return fmt.Errorf("%w; %s", err, c.proc.logTail(2))
		}
		if result.ServerConnections, err = serverConnections(ctx); err != nil {
			return err
		}
		result.After, err = settledMemory(ctx, c)
		return err
	}()
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

// settledMemory waits until a proxy's resident memory has stopped to move, at most a while: a process gives memory back
// when it finds the time.
func settledMemory(ctx context.Context, c *contender) (int64, error) {
	const interval, calm, patience = time.Second, 5, 25
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last int64
	for tries, still := 0, 0; ; tries++ {
		if err := c.proc.check(); err != nil {
			return 0, err
		}
		u, err := usageOf(c.proc.pid())
		if err != nil {
			return 0, err
		}
		if still++; abs(u.rss-last) > last/100 {
			still = 0
		}
		last = u.rss
		if still >= calm || tries >= patience {
			return last, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func abs(n int64) int64 { return max(n, -n) }

// holder is a child of this program that holds idle clients, so that their memory is not mixed with ours.
type holder struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Reader
}

func startHolder(ctx context.Context, port int, of crowd) (*holder, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-hold", strconv.Itoa(of.Clients), "-hold-port", strconv.Itoa(port),
		fmt.Sprintf("-hold-prepared=%t", of.Prepared))
	cmd.Stderr = os.Stderr
	// In a group of its own: Ctrl-C is for us, we end the child. It ends by itself when its input does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &holder{cmd: cmd, stdin: stdin, lines: bufio.NewReader(stdout)}, nil
}

// ready waits until all clients are logged in.
func (h *holder) ready(ctx context.Context) error {
	line, err := h.lines.ReadString('\n')
	switch answer := strings.TrimSpace(line); {
	case answer == holderReady:
		return nil
	case answer != "":
		return errors.New(answer)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("the client process ended: %w", err)
	}
}

func (h *holder) stop() {
	_ = h.stdin.Close() // which is what tells it
	_ = h.cmd.Wait()
}

const holderReady = "ready"

// hold is the child's whole life: log in clients, say so, wait for the end of in.
func hold(ctx context.Context, port int, of crowd, in io.Reader, out io.Writer) error {
	conns, err := openIdle(ctx, port, of)
	if err != nil {
		fmt.Fprintln(out, strings.ReplaceAll(err.Error(), "\n", " "))
		return err
	}
	fmt.Fprintln(out, holderReady)
	_, err = io.Copy(io.Discard, in)
	for _, c := range conns {
		_ = c.Conn().Close() // the proxy is about to be stopped anyway
	}
	return err
}

// openIdle logs clients in, a few at a time, the first one alone: from it a proxy may learn what it tells the others.
func openIdle(ctx context.Context, port int, of crowd) ([]*pgconn.PgConn, error) {
	const atOnce = 8
	conns := make([]*pgconn.PgConn, of.Clients)
	errs := make([]error, of.Clients)
	open := func(i int) {
		if conns[i], errs[i] = connect(ctx, port, userName, databaseName); errs[i] == nil && of.Prepared {
			errs[i] = runPrepared(ctx, conns[i])
		}
	}
	open(0)
	if errs[0] != nil {
		return nil, errs[0]
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for i := range next {
				open(i)
			}
		})
	}
	for i := 1; i < of.Clients; i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("client %d: %w", i+1, err)
		}
	}
	return conns, nil
}

func runPrepared(ctx context.Context, conn *pgconn.PgConn) error {
	if _, err := conn.Prepare(ctx, "held", "SELECT $1::int4 + 1", nil); err != nil {
		return err
	}
	return conn.ExecPrepared(ctx, "held", [][]byte{[]byte("41")}, nil, nil).Read().Err
}

// measureAllIdle starts a server and, one after the other, the contenders that can hold so many clients.
func (r *runner) measureAllIdle(ctx context.Context) ([]idleResult, error) {
	servers, err := startServers(ctx, 1, idleSettings())
	if err != nil {
		return nil, err
	}
	defer servers.Close() // the figures are there by then
	connections := func(ctx context.Context) (int, error) {
		n, err := servers.Nodes[0].Value(ctx, "SELECT count(*)::text FROM pg_stat_activity WHERE usename = $1", userName)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(n)
	}
	p := r.places(filepath.Join(r.dir, "idle"), ports(servers))
	var results []idleResult
	for _, of := range r.opts.crowds() {
		for _, name := range r.idleContenders(of) {
			result := r.measureCrowd(ctx, p, name, of, connections)
			if ctx.Err() != nil {
				return results, context.Cause(ctx)
			}
			printIdle(os.Stdout, result)
			results = append(results, result)
		}
	}
	return results, nil
}

// measureCrowd starts a contender for one crowd.
func (r *runner) measureCrowd(
	ctx context.Context, p places, name string, of crowd, connections func(context.Context) (int, error),
) idleResult {
	fmt.Printf("%s, %s\n", of.id(), name)
	c, err := r.startContender(ctx, p, name, of.capacity())
	if err != nil {
		return idleResult{Contender: name, crowd: of, Error: err.Error()}
	}
	defer c.stop()
	return measureIdle(ctx, c, of, connections)
}

func printIdle(w io.Writer, i idleResult) {
	if i.Error != "" {
		fmt.Fprintf(w, "  failed: %s\n", i.Error)
		return
	}
	fmt.Fprintf(w, "  %s MB without, %s MB with %d clients: %d bytes each, %d server connections\n",
		megabytes(i.Before), megabytes(i.After), i.Clients, i.perClient(), i.ServerConnections)
}
