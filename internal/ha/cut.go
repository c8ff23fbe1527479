package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"gopgpool/internal/pgcluster"
)

// cutOff makes a node's port unreachable within our network namespace: what is on its way between it and its clients is lost without a
// word, who connects is told that the network is unreachable, as behind a router. The server does not notice.
func cutOff(ctx context.Context, n *pgcluster.Node) error {
	if err := yieldLocalRule(ctx); err != nil {
		return err
	}
	return cutRules(ctx, "add", n)
}

// mend undoes cutOff.
func mend(ctx context.Context, n *pgcluster.Node) error { return cutRules(ctx, "del", n) }

func cutRules(ctx context.Context, verb string, n *pgcluster.Node) error {
	var errs []error
	for _, side := range []string{"dport", "sport"} {
		errs = append(errs, ip(ctx, "rule", verb, "pref", "1", "ipproto", "tcp", side, fmt.Sprint(n.Port), "type", "unreachable"))
	}
	return errors.Join(errs...)
}

// yieldLocalRule lets rules of ours come before the one for local addresses, which is the first by default.
func yieldLocalRule(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "ip", "rule").CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip rule: %w: %s", err, out)
	}
	if !strings.HasPrefix(string(out), "0:") {
		return nil
	}
	if err := ip(ctx, "rule", "add", "pref", "10", "lookup", "local"); err != nil {
		return err
	}
	return ip(ctx, "rule", "del", "pref", "0")
}

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
