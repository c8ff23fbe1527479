package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// loginCost tells where the proxy's processor time goes during logins.
type loginCost struct {
	Row       string     `json:"row"`
	Contender string     `json:"contender"`
	Samples   int        `json:"samples"`
	Parts     []costPart `json:"parts"`
}

type costPart struct {
	Name    string `json:"name"`
	Samples int    `json:"samples"`
}

// The parts a sample may belong to.
const (
	costConnections = "kernel: taking and closing connections"
	costTransfer    = "kernel: reading and writing"
	costWaiting     = "kernel: waiting and waking"
	costKernel      = "kernel: the rest"
	costMemory      = "memory: allocation, collection"
	costTLS         = "TLS"
	costDerivation  = "SCRAM: key derivation"
	costSCRAM       = "SCRAM: messages, proofs"
	costQuery       = "auth_query"
	costScheduling  = "coroutines, scheduling"
	costRest        = "the rest of the proxy"
)

// costRule gives functions that begin so, and what they call, to a part.
type costRule struct{ prefix, part string }

// userRules are tried for each frame of a stack, beginning with the innermost.
func userRules() []costRule {
	return []costRule{
		{"runtime.malloc", costMemory},
		{"runtime.newobject", costMemory},
		{"runtime.makeslice", costMemory},
		{"runtime.growslice", costMemory},
		{"runtime.gc", costMemory},
		{"runtime.bgsweep", costMemory},
		{"runtime.bgscavenge", costMemory},
		{"github.com/xdg-go/pbkdf2.", costDerivation},
		{"crypto/pbkdf2.", costDerivation},
		{"gopgpool/auth/query.", costQuery},
		{"github.com/jackc/pgx", costQuery},
		{"gopgpool/auth.", costSCRAM},
		{"github.com/xdg-go/scram.", costSCRAM},
		{"crypto/tls.", costTLS},
		{"gopgpool/tlsconf.", costTLS},
		{"runtime.coroswitch", costScheduling},
		{"runtime.mcall", costScheduling},
		{"runtime.park_m", costScheduling},
		{"runtime.schedule", costScheduling},
		{"runtime.findRunnable", costScheduling},
		{"runtime.ready", costScheduling},
		{"runtime.mstart", costScheduling},
		{"runtime.goexit0", costScheduling},
		{"runtime.newproc", costScheduling},
		{"gopgpool/", costRest},
	}
}

// callRules give system calls to parts; what is not there is the rest.
func callRules() map[string]string {
	parts := map[string]string{}
	for part, names := range map[string]string{
		costConnections: "accept4 close shutdown setsockopt getsockopt getsockname getpeername socket connect",
		costTransfer:    "read write readv writev recvfrom sendto recvmsg sendmsg",
		costWaiting:     "epoll_wait epoll_pwait epoll_ctl futex nanosleep clock_nanosleep sched_yield tgkill",
	} {
		for name := range strings.FieldsSeq(names) {
			parts[name] = part
		}
	}
	return parts
}

// costFrame is a function in a stack; kernel tells whose.
type costFrame struct {
	function string
	kernel   bool
}

// partOf judges a stack, innermost frame first.
func partOf(stack []costFrame, rules []costRule, calls map[string]string) string {
	if stack[0].kernel {
		for _, f := range stack {
			name, ok := strings.CutPrefix(f.function, "__x64_sys_")
			if !ok {
				name, ok = strings.CutPrefix(f.function, "__arm64_sys_")
			}
			if ok {
				return cmp.Or(calls[name], costKernel)
			}
		}
		return costKernel
	}
	for _, f := range stack {
		for _, rule := range rules {
			if !f.kernel && strings.HasPrefix(f.function, rule.prefix) {
				return rule.part
			}
		}
	}
	return costRest
}

// countCosts reads stacks as perf script prints them: an address, a function and in brackets its file in each line; an empty line after
// each stack.
func countCosts(in io.Reader) (loginCost, error) {
	counts := map[string]int{}
	rules, calls := userRules(), callRules()
	var stack []costFrame
	var cost loginCost
	finish := func() {
		if len(stack) > 0 {
			counts[partOf(stack, rules, calls)]++
			cost.Samples++
		}
		stack = stack[:0]
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			finish()
			continue
		}
		_, text, _ = strings.Cut(text, " ")
		at := strings.LastIndex(text, " (")
		if at < 0 {
			return cost, fmt.Errorf("line %q of perf script names no file", lines.Text())
		}
		stack = append(stack, costFrame{function: text[:at], kernel: strings.HasPrefix(text[at:], " ([k")})
	}
	finish()
	for name, n := range counts {
		cost.Parts = append(cost.Parts, costPart{Name: name, Samples: n})
	}
	slices.SortFunc(cost.Parts, func(a, b costPart) int { return cmp.Or(cmp.Compare(b.Samples, a.Samples), cmp.Compare(a.Name, b.Name)) })
	return cost, lines.Err()
}

// measureLoginCosts records our contenders of a stage.
func (r *runner) measureLoginCosts(ctx context.Context, s *stage, kit loginKit) ([]loginCost, error) {
	perf, err := exec.LookPath("perf")
	if err != nil {
		return nil, errNoPerf
	}
	var all []loginCost
	for _, row := range r.opts.loginRows() {
		for _, c := range s.contenders {
			if row.Derive || c.broken != nil || c.name != gopgpool && c.name != gopgpoolByQuery {
				continue
			}
			cost, err := r.costOf(ctx, perf, c, row, kit)
			if err != nil {
				return all, err
			}
			all = append(all, cost)
		}
	}
	return all, nil
}

func (r *runner) costOf(ctx context.Context, perf string, c *contender, row loginRow, kit loginKit) (loginCost, error) {
	file := filepath.Join(r.dir, "logins.data")
	if err := r.recordLogins(ctx, perf, c, kit.client(c, row), file); err != nil {
		return loginCost{}, err
	}
	var problems strings.Builder
	cmd := exec.CommandContext(ctx, perf, "script", "-i", file, "--no-inline", "-F", "ip,sym,dso")
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return loginCost{}, fmt.Errorf("perf script: %w: %s", err, firstLines(problems.String(), 3))
	}
	cost, err := countCosts(bytes.NewReader(out))
	cost.Row, cost.Contender = row.id(), c.name
	return cost, err
}

// recordLogins is one run under perf.
func (r *runner) recordLogins(ctx context.Context, perf string, c *contender, client *loginClient, out string) error {
	_, _, err := connectFor(ctx, 1, client.once)
	if err != nil {
		return err
	}
	record, err := startRecording(perf, r.dir, out, c.proc.pid())
	if err != nil {
		return err
	}
	done, _, err := connectFor(ctx, r.opts.seconds, client.once)
	record.stop(syscall.SIGINT, 20*time.Second) // which makes it write the file
	fmt.Printf("%s under perf: %d logins a second\n", c.name, median(done))
	return err
}

// profileLogins records one row of logins with our proxy, or the one that -contenders names.
func (r *runner) profileLogins(ctx context.Context) error {
	i := slices.IndexFunc(loginRows(), func(l loginRow) bool { return l.id() == r.opts.profile })
	if i < 0 {
		return fmt.Errorf("no row %q; rows of logins are named like %s", r.opts.profile, loginRows()[0].id())
	}
	perf, err := exec.LookPath("perf")
	if err != nil {
		fmt.Println("no profile:", errNoPerf)
		return nil
	}
	names := []string{gopgpool}
	if r.opts.contenders.String() != "" {
		names = slices.DeleteFunc(r.opts.loginContenders(), func(name string) bool { return name == direct })
	}
	if len(names) != 1 {
		return fmt.Errorf("one contender can be recorded, not %d", len(names))
	}
	s, kit, err := r.startLogins(ctx, names)
	if err != nil {
		return err
	}
	defer s.close()
	c := s.contenders[0]
	if c.broken != nil {
		return c.broken
	}
	if err := r.recordLogins(ctx, perf, c, kit.client(c, loginRows()[i]), r.opts.profileOut); err != nil {
		return err
	}
	return showRecording(ctx, perf, r.opts.profileOut)
}

func printCost(w io.Writer, c loginCost) {
	fmt.Fprintf(w, "%s, %s:", c.Row, c.Contender)
	for _, part := range c.Parts {
		fmt.Fprintf(w, " %s %.1f %%;", part.Name, 100*float64(part.Samples)/float64(c.Samples))
	}
	fmt.Fprintln(w)
}

// printCosts tells also what cannot be measured here.
func printCosts(costs []loginCost, err error) {
	for _, c := range costs {
		printCost(os.Stdout, c)
	}
	if err != nil {
		fmt.Println("cost of logins not profiled:", err)
	}
}
