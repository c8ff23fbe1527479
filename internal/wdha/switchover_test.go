package wdha

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"gopgpool/internal/site"
)

// killInSwitchover orders a switchover and kills the leader in the middle of it: while a transaction is open and everybody waits for its
// end, or when the old primary has been stopped.
func (b *bench) killInSwitchover(s state, draining bool) {
	b.t.Helper()
	p := b.Pgpools[s.leader]
	mark := p.Mark(b.t)
	if draining {
		defer b.openTransaction()()
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	said := make(chan string, 1)
	go func() { said <- b.orderSwitchover(ctx, s, (s.primary+1)%len(b.Servers)) }()
	defer func() {
		cancel()
		b.t.Logf("who ordered the switchover was told: %s", <-said)
	}()
	if !draining {
		b.killLeaderAt(s, mark, "the old primary, is stopped")
		return
	}
	address := net.JoinHostPort(p.Host.Address().String(), poolPort)
	seen, ok := site.Wait(b.t.Context(), 10*time.Second, func() (string, bool) {
		rows, err := b.ask(b.Client, address, "SHOW pool_status")
		if err != nil {
			return err.Error(), false
		}
		log := p.LogText(b.t)[mark:]
		return fmt.Sprint(len(rows)), strings.Contains(log, "switchover")
	})
	if !ok {
		b.t.Errorf("no switchover began: %s", seen)
	}
	p.Kill(b.t)
}

// orderSwitchover returns what the order's program said.
func (b *bench) orderSwitchover(ctx context.Context, s state, to int) string {
	out, err := b.Client.Run(ctx, "postgres", fmt.Sprintf("pcp_promote_node -s -w -h %s -p %d -U pgpool %d 2>&1",
		b.Pgpools[s.leader].Host.Name, site.PCPPort, to))
	if err != nil {
		return strings.TrimSpace(err.Error())
	}
	return strings.TrimSpace(out)
}

// openTransaction begins one at the virtual address that writes and is never committed; what is returned ends it.
func (b *bench) openTransaction() (end func()) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	conn, err := dial(ctx, b.Client, net.JoinHostPort(b.VIP.String(), poolPort))
	b.must(err)
	_, err = conn.Exec(ctx, "BEGIN; INSERT INTO wdha_rows VALUES (0, 0)").ReadAll()
	b.must(err)
	return func() {
		_ = conn.Close(ctx) // it is not committed
		<-conn.CleanupDone()
		cancel()
	}
}
