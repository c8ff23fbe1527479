package main

import (
	"context"

	"gopgpool/pcp"
)

// operand is what a program takes as an argument or by -n or -P.
type operand uint8

const (
	operandNone operand = iota
	operandNode
	operandNodeOptional
	operandWatchdogOptional
	operandProcessOptional
)

// sOption is what -s and the long options that share it mean to a program.
type sOption uint8

const (
	sNone sOption = iota
	sScope
	sSwitchover
	sRefused // listed, and refused like any long option the program does not have
)

// program is one of the pcp_* programs.
type program struct {
	name, about string
	letters     string // short options beyond those of all programs
	operand     operand
	s           sOption
	mode        bool // has -m
	command     func(ctx context.Context, c *pcp.Client, o options) (output string, err error)
}

// programs are all of them, in alphabetical order.
func programs() []program {
	return []program{
		{
			name: "pcp_attach_node", about: "have pgpool use a node again", letters: "n", operand: operandNode,
			command: action("pcp_attach_node", func(ctx context.Context, c *pcp.Client, o options) error { return c.Attach(ctx, o.id) }),
		},
		{
			name: "pcp_detach_node", about: "have pgpool no longer use a node", letters: "ng", operand: operandNode,
			command: action("pcp_detach_node", func(ctx context.Context, c *pcp.Client, o options) error {
				return c.Detach(ctx, o.id, o.gracefully)
			}),
		},
		{
			name: "pcp_health_check_stats", about: "show the record of a node's health check", letters: "n", operand: operandNode,
			command: func(ctx context.Context, c *pcp.Client, o options) (string, error) {
				h, err := c.HealthCheckStats(ctx, o.id)
				return ifNone(err, func() string { return formatHealthCheckStats(h, o.verbose) })
			},
		},
		{
			name: "pcp_invalidate_query_cache", about: "empty the query cache", letters: "s", s: sRefused,
			command: action("pcp_invalidate_query_cache", func(ctx context.Context, c *pcp.Client, _ options) error {
				return c.InvalidateQueryCache(ctx)
			}),
		},
		{
			name: "pcp_log_rotate", about: "have the log go on in another file", letters: "s", s: sScope,
			command: action("pcp_log_rotate", func(ctx context.Context, c *pcp.Client, o options) error { return c.RotateLog(ctx, o.cluster) }),
		},
		{
			name: "pcp_node_count", about: "show how many nodes there are",
			command: func(ctx context.Context, c *pcp.Client, o options) (string, error) {
				n, err := c.NodeCount(ctx)
				return ifNone(err, func() string { return formatNodeCount(n, o.verbose) })
			},
		},
		{
			name: "pcp_node_info", about: "show a node, or all nodes", letters: "na", operand: operandNodeOptional,
			command: func(ctx context.Context, c *pcp.Client, o options) (string, error) {
				rows, err := c.NodeInfo(ctx, o.idOr(pcp.AllNodes))
				return ifNone(err, func() string { return formatNodeInfo(rows, o.verbose, o.all) })
			},
		},
		{
			name: "pcp_pool_status", about: "show the parameters in force",
			command: func(ctx context.Context, c *pcp.Client, o options) (string, error) {
				rows, err := c.PoolStatus(ctx)
				return ifNone(err, func() string { return formatPoolStatus(rows, o.verbose) })
			},
		},
		{
			name: "pcp_proc_count", about: "show the workers' process numbers",
			command: func(ctx context.Context, c *pcp.Client, o options) (string, error) {
				pids, err := c.Processes(ctx)
				return ifNone(err, func() string { return formatProcCount(pids, o.verbose) })
			},
		},
		{
			name: "pcp_proc_info", about: "show the connections of a worker, or of all", letters: "Pa", operand: operandProcessOptional,
			command: func(ctx context.Context, c *pcp.Client, o options) (string, error) {
				rows, err := c.ProcessInfo(ctx, o.idOr(pcp.AllProcesses))
				return ifNone(err, func() string { return formatProcessInfo(rows, o.verbose, o.all) })
			},
		},
		{
			name: "pcp_promote_node", about: "make a node the primary", letters: "ngs", operand: operandNode, s: sSwitchover,
			command: action("pcp_promote_node", func(ctx context.Context, c *pcp.Client, o options) error {
				return c.Promote(ctx, o.id, o.switchover, o.gracefully)
			}),
		},
		{
			name: "pcp_recovery_node", about: "build a node from the primary and attach it", letters: "n", operand: operandNode,
			command: action("pcp_recovery_node", func(ctx context.Context, c *pcp.Client, o options) error { return c.Recover(ctx, o.id) }),
		},
		{
			name: "pcp_reload_config", about: "have the configuration read again", letters: "s", s: sScope,
			command: action("pcp_reload_config", func(ctx context.Context, c *pcp.Client, o options) error { return c.Reload(ctx, o.cluster) }),
		},
		{
			name: "pcp_stop_pgpool", about: "stop pgpool", letters: "msa", s: sScope, mode: true,
			command: action("pcp_stop_pgpool", func(ctx context.Context, c *pcp.Client, o options) error {
				return c.Stop(ctx, o.mode, o.cluster)
			}),
		},
		{
			name: "pcp_watchdog_info", about: "show the state of the watchdog", letters: "n", operand: operandWatchdogOptional,
			command: func(ctx context.Context, c *pcp.Client, o options) (string, error) {
				w, err := c.WatchdogInfo(ctx, o.idOr(pcp.AllWatchdogNodes))
				return ifNone(err, func() string { return formatWatchdogInfo(w, o.layout, o.verbose) })
			},
		},
	}
}

func findProgram(name string) *program {
	for _, p := range programs() {
		if p.name == name {
			return &p
		}
	}
	return nil
}

type doer func(context.Context, *pcp.Client, options) error

// action is a command without data.
func action(name string, do doer) func(context.Context, *pcp.Client, options) (string, error) {
	return func(ctx context.Context, c *pcp.Client, o options) (string, error) {
		return ifNone(do(ctx, c, o), func() string { return name + " -- Command Successful\n" })
	}
}

func ifNone(err error, text func() string) (string, error) {
	if err != nil {
		return "", err
	}
	return text(), nil
}
