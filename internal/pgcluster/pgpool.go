package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgpoolOptions describe a pgpool in front of a cluster. Only Binary has no default.
type PgpoolOptions struct {
	// Binary is the program, see [Shared.Program].
	Binary string
	// Dir holds etc/, log/ and run/; default pgpoolN below the cluster's Dir.
	Dir string
	// Port and PCPPort; zero: free ports.
	Port, PCPPort int
	// Conf are parameters, which win over those of the harness; its values are written between apostrophes.
	Conf map[string]string
	// ConfText is appended to pgpool.conf as it stands.
	ConfText string
	// HBA is pool_hba.conf (default: trust for all), Passwd pool_passwd (default: the superuser if it has a password), PCP
	// pcp.conf (default: user postgres, password postgres).
	HBA, Passwd, PCP string
	// Files are further files below etc/, written with mode 0600.
	Files map[string]string
	// Args are further arguments, Env further environment entries.
	Args, Env []string
	// Servers is how many of the cluster's servers it knows, the first ones; 0: all.
	Servers int
	// Privileged runs it as this process' user even if that is root; else it runs as the servers do.
	Privileged bool
}

// Pgpool is a pgpool process started by a cluster.
type Pgpool struct {
	// Port is where clients connect, PCPPort where administrators do; both on Host, and by unix socket in RunDir.
	Host          string
	Port, PCPPort int
	// EtcDir holds the configuration files, LogDir its work_dir and Log, RunDir pid file and sockets.
	EtcDir, LogDir, RunDir string
	// Log is the file of what it writes to stdout and stderr.
	Log string

	cluster *Cluster
	opts    PgpoolOptions
	ports   *Ports
	mu      sync.Mutex // guards proc
	proc    *process
}

const trustAll = `local all all trust
host all all 127.0.0.1/32 trust
host all all ::1/128 trust
`

// ErrDefect is the error of Close when the log of a pgpool shows a data race or a panic.
var ErrDefect = errors.New("pgpool's log shows a defect")

var defects = regexp.MustCompile(`(?m)^(WARNING: DATA RACE|panic: |fatal error: ).*`)

// StartPgpool writes the files of a pgpool with all nodes as its backends, starts it in the foreground and waits until its
// port answers. It is stopped by its Close or the cluster's.
func (c *Cluster) StartPgpool(ctx context.Context, opts PgpoolOptions) (*Pgpool, error) {
	p, err := c.NewPgpool(opts)
	if err != nil {
		return nil, err
	}
	if err := p.Start(ctx); err != nil {
		return nil, errors.Join(err, p.Close(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// NewPgpool writes the files of a pgpool without starting it.
func (c *Cluster) NewPgpool(opts PgpoolOptions) (*Pgpool, error) {
	p := &Pgpool{Host: c.opts.Host, Port: opts.Port, PCPPort: opts.PCPPort, cluster: c, opts: opts, ports: &Ports{}}
	if err := p.choosePorts(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	if p.opts.Dir == "" {
		p.opts.Dir = filepath.Join(c.Dir, fmt.Sprintf("pgpool-%d", p.Port))
	}
	c.pgpools = append(c.pgpools, p)
	c.mu.Unlock()
	p.EtcDir = filepath.Join(p.opts.Dir, "etc")
	p.LogDir = filepath.Join(p.opts.Dir, "log")
	p.RunDir = filepath.Join(p.opts.Dir, "run")
	p.Log = filepath.Join(p.LogDir, "pgpool.log")
	if err := p.writeFiles(); err != nil {
		c.dropPgpool(p)
		return nil, errors.Join(err, p.ports.Close())
	}
	return p, nil
}

func (c *Cluster) dropPgpool(p *Pgpool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pgpools = slices.DeleteFunc(c.pgpools, func(q *Pgpool) bool { return q == p })
}

func (p *Pgpool) choosePorts() (err error) {
	if p.Port != 0 && p.PCPPort != 0 {
		return nil
	}
	if p.ports, err = ReservePorts(2); err != nil {
		return err
	}
	if p.Port == 0 {
		p.Port = p.ports.Numbers[0]
	}
	if p.PCPPort == 0 {
		p.PCPPort = p.ports.Numbers[1]
	}
	return nil
}

func (p *Pgpool) writeFiles() error {
	as := p.cluster.as
	for _, dir := range []string{p.opts.Dir, p.EtcDir, p.LogDir, p.RunDir} {
		if err := as.mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	conf, err := p.confText()
	if err != nil {
		return err
	}
	files := map[string]string{
		"pgpool.conf":   conf,
		"pool_hba.conf": orDefault(p.opts.HBA, trustAll),
		"pool_passwd":   orDefault(p.opts.Passwd, p.cluster.defaultPasswd()),
		"pcp.conf":      orDefault(p.opts.PCP, "postgres:"+MD5Hex("postgres")+"\n"),
	}
	maps.Copy(files, p.opts.Files)
	for name, text := range files {
		if err := as.write(filepath.Join(p.EtcDir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Rewrite replaces parameters of pgpool.conf on top of Options.Conf; they count from the next start or reload.
func (p *Pgpool) Rewrite(conf map[string]string) error {
	merged := maps.Clone(p.opts.Conf)
	if merged == nil {
		merged = map[string]string{}
	}
	maps.Copy(merged, conf)
	p.opts.Conf = merged
	text, err := p.confText()
	if err != nil {
		return err
	}
	return p.cluster.as.write(filepath.Join(p.EtcDir, "pgpool.conf"), text, 0o600)
}

// Start starts the program and waits until its port answers.
func (p *Pgpool) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.Spawn(); err != nil {
		return err
	}
	return Poll(ctx, fmt.Sprintf("pgpool answers on port %d", p.Port), func() (bool, error) {
		if q := p.process(); q.exited() {
			return false, exitedEarly(q, p.Log)
		}
		return answers(ctx, net.JoinHostPort(p.Host, fmt.Sprint(p.Port))), nil
	})
}

// Spawn starts the program without waiting for anything, for starts that are meant to go wrong.
func (p *Pgpool) Spawn() error {
	log, err := openLog(p.Log, p.cluster.as)
	if err != nil {
		return err
	}
	defer log.Close()
	program, err := p.Program()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, p.Arguments()...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.opts.Dir, log, log
	cmd.Env = append(append(os.Environ(), programEnv()...), p.opts.Env...)
	proc, err := p.cluster.spawner.start("pgpool", cmd, p.opts.Privileged)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.proc = proc
	p.mu.Unlock()
	return nil
}

// Program is the path of the binary, or of a copy made where the servers' user can reach it.
func (p *Pgpool) Program() (string, error) {
	if p.opts.Privileged || p.cluster.as.checkReach(p.opts.Binary) == nil {
		return p.opts.Binary, nil
	}
	text, err := os.ReadFile(p.opts.Binary)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(p.opts.Dir, "bin")
	if err := p.cluster.as.mkdir(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, filepath.Base(p.opts.Binary))
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return path, os.WriteFile(path, text, 0o755)
}

// SetArgs replaces [PgpoolOptions].Args for the starts that follow.
func (p *Pgpool) SetArgs(args ...string) { p.opts.Args = args }

// Arguments are those of a start in the foreground.
func (p *Pgpool) Arguments() []string {
	return append([]string{
		"-n", "-f", filepath.Join(p.EtcDir, "pgpool.conf"),
		"-F", filepath.Join(p.EtcDir, "pcp.conf"), "-a", filepath.Join(p.EtcDir, "pool_hba.conf"),
	}, p.opts.Args...)
}

// answers asks for TLS: every server of the protocol answers with one byte, whoever is allowed in.
func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return false
	}
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err == nil
}

func (p *Pgpool) process() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proc
}

// Pid of the process last started; 0 before the first start.
func (p *Pgpool) Pid() int {
	if q := p.process(); q != nil {
		return q.pid
	}
	return 0
}

// Done is closed when the process last started has ended. It must have been started.
func (p *Pgpool) Done() <-chan struct{} { return p.process().done }

// LogTail is the end of the log.
func (p *Pgpool) LogTail() string { return tail(p.Log, 15) }

// Signal sends a signal to the process.
func (p *Pgpool) Signal(sig syscall.Signal) error {
	q := p.process()
	if q == nil {
		return errors.New("pgpool was not started")
	}
	return q.signal(sig)
}

// Wait waits for the end of the process and returns its exit code, 128 + number if a signal killed it.
func (p *Pgpool) Wait(ctx context.Context) (int, error) {
	q := p.process()
	if q == nil {
		return 0, errors.New("pgpool was not started")
	}
	return q.wait(ctx)
}

// Stop sends a signal and waits: SIGTERM is a smart stop, SIGINT fast, SIGQUIT immediate.
func (p *Pgpool) Stop(ctx context.Context, sig syscall.Signal) (exitCode int, err error) {
	if err := p.Signal(sig); err != nil {
		return 0, err
	}
	return p.Wait(ctx)
}

// closeTime is how long a pgpool may take to end. It gives its parts ten seconds itself, and tells by its exit code if one hangs.
const closeTime = 30 * time.Second

// Close stops the process fast, or kills it after a time, which is an error like a defect in its log and an exit code
// other than 0 after the stop. It gives the ports back.
func (p *Pgpool) Close(ctx context.Context) error {
	p.cluster.dropPgpool(p)
	return errors.Join(p.stopFast(ctx), p.defect(), p.ports.Close())
}

func (p *Pgpool) stopFast(ctx context.Context) error {
	q := p.process()
	if q == nil || q.exited() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	code, err := p.Stop(ctx, syscall.SIGINT)
	if err != nil {
		killAll(family(q.pid))
		<-q.done
		return err
	}
	if code != 0 {
		return fmt.Errorf("pgpool on port %d: exit code %d after SIGINT\n%s", p.Port, code, tail(p.Log, 15))
	}
	return nil
}

func (p *Pgpool) defect() error {
	text, err := p.LogText()
	if errors.Is(err, os.ErrNotExist) {
		return nil // never started
	}
	if err != nil {
		return err
	}
	if at := defects.FindStringIndex(text); at != nil {
		return fmt.Errorf("%w:\n%s", ErrDefect, text[at[0]:min(len(text), at[0]+4000)])
	}
	return nil
}

// LogText is what the program has written so far, over all starts.
func (p *Pgpool) LogText() (string, error) {
	text, err := os.ReadFile(p.Log)
	return string(text), err
}

// WaitLog waits until the log has a match of pattern and returns it.
func (p *Pgpool) WaitLog(ctx context.Context, pattern *regexp.Regexp) (match string, err error) {
	err = Poll(ctx, fmt.Sprintf("pgpool logs %q", pattern), func() (bool, error) {
		text, err := p.LogText()
		match = pattern.FindString(text)
		return match != "" || pattern.MatchString(text), err
	})
	return match, err
}

// ConnString is a connection string through this pgpool, as [Node.ConnString].
func (p *Pgpool) ConnString(words ...string) string {
	return p.cluster.connString(p.Host, p.Port, words)
}

// Connect opens a connection through this pgpool, which the caller closes.
func (p *Pgpool) Connect(ctx context.Context, words ...string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, p.ConnString(words...))
}

func orDefault(text, other string) string {
	if strings.TrimSpace(text) == "" {
		return other
	}
	return text
}
