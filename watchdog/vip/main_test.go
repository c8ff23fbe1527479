package vip

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/logging"
)

// holderEnv makes this binary a program that holds an address: its value is the Config, lines of standard input are Desired, lines
// of standard output are State. It ends with its input.
const holderEnv = "GOPGPOOL_VIP_HOLDER"

func TestMain(m *testing.M) {
	hosts.RunHelper()
	if config := os.Getenv(holderEnv); config != "" {
		os.Exit(beHolder(config))
	}
	os.Exit(m.Run())
}

// settings are a Config in JSON.
type settings struct {
	Config
	Escalation, DeEscalation string
}

func beHolder(config string) int {
	log := logging.To(os.Stderr, logging.Debug1)
	fatal := func(err error) int {
		log.Log(logging.Event{Severity: logging.Fatal, Message: err.Error()})
		return 1
	}
	var s settings
	if err := json.Unmarshal([]byte(config), &s); err != nil {
		return fatal(err)
	}
	s.EscalationCommand = func() string { return s.Escalation }
	s.DeEscalationCommand = func() string { return s.DeEscalation }
	states := json.NewEncoder(os.Stdout)
	a, err := New(s.Config, log, func(s State) { _ = states.Encode(s) }) // nobody reads it if the test is gone
	if err != nil {
		return fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		wishes := json.NewDecoder(os.Stdin)
		for {
			var d Desired
			if wishes.Decode(&d) != nil {
				stop()
				return
			}
			a.Set(d)
		}
	}()
	if err := a.Run(ctx); err != nil {
		return fatal(err)
	}
	return 0
}

// process is such a program on a host.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	wishes *json.Encoder
	input  io.Closer
	log    *book
	mu     sync.Mutex
	state  State
	ended  chan error
	over   bool
}

// MarshalJSON leaves out what cannot be sent.
func (s settings) MarshalJSON() ([]byte, error) {
	s.EscalationCommand, s.DeEscalationCommand = nil, nil
	type plain struct {
		IP                                                                  string
		UpCommand, DownCommand, ArpingCommand                               string
		CommandPath, ArpingPath, PingPath, Device, Escalation, DeEscalation string
		Prefix                                                              int
		CommandTimeout                                                      time.Duration
	}
	return json.Marshal(plain{
		s.IP.String(), s.UpCommand, s.DownCommand, s.ArpingCommand, s.CommandPath, s.ArpingPath, s.PingPath, s.Device, s.Escalation,
		s.DeEscalation, s.Prefix, s.CommandTimeout,
	})
}

const testProgram = "/var/lib/vip.test"

func startHolder(t *testing.T, h *hosts.Host, s settings) *process {
	t.Helper()
	return startHolderAs(t, h, "root", s)
}

func startHolderAs(t *testing.T, h *hosts.Host, user string, s settings) *process {
	t.Helper()
	config, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := h.Command(context.WithoutCancel(t.Context()), user, testProgram)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, holderEnv+"="+string(config), "GORACE=atexit_sleep_ms=0")
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	p := &process{t: t, cmd: cmd, wishes: json.NewEncoder(in), input: in, log: &book{}, ended: make(chan error, 1)}
	cmd.Stderr = p.log
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go p.follow(out)
	t.Cleanup(func() {
		if !p.over {
			p.stop()
		}
		if t.Failed() {
			t.Logf("log of the holder on %s:\n%s", h.Name, p.log)
		}
	})
	return p
}

// follow reads states until the program ends.
func (p *process) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s State
		if json.Unmarshal(lines.Bytes(), &s) == nil {
			p.mu.Lock()
			p.state = s
			p.mu.Unlock()
		}
	}
	p.ended <- p.cmd.Wait()
}

func (p *process) current() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func (p *process) set(d Desired) {
	p.t.Helper()
	if err := p.wishes.Encode(d); err != nil {
		p.t.Fatal(err)
	}
}

// hold asks for the address for so long and returns the end of the lease.
func (p *process) hold(lease time.Duration) time.Duration {
	p.t.Helper()
	until := Boottime() + lease
	p.set(Desired{Hold: true, Until: until})
	return until
}

// longest is what anything here may take that is not a matter of time: other programs may keep the machine busy.
const longest = time.Minute

// steady is a lease that is not over because the machine was busy for a while.
const steady = 30 * time.Second

// stop ends the program by its input.
func (p *process) stop() {
	p.t.Helper()
	_ = p.input.Close() // or it has ended
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("holder: %v", err)
		}
	case <-time.After(longest):
		_ = p.cmd.Process.Kill()
		p.t.Errorf("the holder does not end: %v", <-p.ended)
	}
	p.over = true
}

// kill ends it without its doing.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	if err := <-p.ended; err == nil {
		p.t.Error("the holder ended well although it was killed")
	}
	_ = p.input.Close() // nobody reads it any more
	p.over = true
}

// book takes log lines.
type book struct {
	mu   sync.Mutex
	text []byte
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}
