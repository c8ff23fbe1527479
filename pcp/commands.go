package pcp

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// command carries out the request of an authorized client. An error becomes the reply.
func (c *connection) command(ctx context.Context, p Packet) error {
	name := commandName(p.Type)
	c.tell("PCP command " + name + " begins")
	defer c.tell("PCP command " + name + " ends")
	return c.obey(ctx, p)
}

func (c *connection) obey(ctx context.Context, p Packet) error {
	switch p.Type {
	case TypeSet:
		return c.set(p)
	case TypePoolStatus:
		return c.watched(ctx, c.poolStatus)
	case TypeAttach:
		return c.done(ReplyAttach, c.control().Attach(ctx, node(p)))
	case TypeDetach, TypeDetachGracefully:
		return c.detach(ctx, node(p), p.Type == TypeDetachGracefully)
	case TypeStopRecovery:
		return nil // never answered
	case TypeInvalidateCache:
		return c.done(ReplyInvalidateCache, c.control().InvalidateQueryCache())
	case TypeHealthCheckStats:
		return c.healthCheckStats(number(p))
	case TypeNodeInfo:
		return c.watched(ctx, func(ctx context.Context) error { return c.nodeInfo(ctx, number(p)) })
	case TypePromote, TypePromoteGraceful:
		return c.promote(ctx, p)
	case TypeNodeCount:
		v, _ := c.control().Cluster()
		c.out.strings(ReplyNodeCount, TagComplete, strconv.Itoa(len(v.Nodes)))
	case TypeProcCount:
		return c.watched(ctx, c.procCount)
	case TypeRecovery:
		return c.recovery(ctx, node(p))
	case TypeProcInfo:
		return c.watched(ctx, func(ctx context.Context) error { return c.procInfo(ctx, number(p)) })
	case TypeStop, TypeStopCluster:
		return c.stop(ctx, p)
	case TypeRotateLog:
		return c.everywhere(ctx, p, ReplyRotateLog, ClusterRotateLog, c.control().RotateLog)
	case TypeWatchdogInfo:
		return c.watchdogInfo(number(p))
	case TypeReload:
		return c.everywhere(ctx, p, ReplyReload, ClusterReload, c.control().Reload)
	default:
		return fatal("PCP processing request", fmt.Sprintf("unknown PCP packet type %q", string(rune(p.Type))))
	}
	return nil
}

func (c *connection) control() Control { return c.server.parts.Control }

// done answers a command that has nothing to tell.
func (c *connection) done(typ byte, err error) error {
	if err == nil {
		c.out.strings(typ, TagComplete)
	}
	return err
}

// number reads the first string of a request as the C library does: blanks, a sign, the digits up to anything else, else 0.
func number(p Packet) int {
	s, _, _ := strings.Cut(string(p.Payload), "\x00")
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	if end < len(s) && (s[0] == '-' || s[0] == '+') {
		end++
	}
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 32)
	if err != nil && n == 0 {
		return 0 // no digits; a number that is too great is the greatest there is
	}
	return int(n)
}

func node(p Packet) cluster.NodeID { return cluster.NodeID(number(p)) }

func (c *connection) detach(ctx context.Context, id cluster.NodeID, gracefully bool) error {
	resume, err := func() {}, error(nil)
	if gracefully {
		resume, err = c.quiesce(ctx, c.control().CheckDetach(id))
	}
	defer resume()
	if err == nil {
		err = c.control().Detach(ctx, id, gracefully)
	}
	return c.done(ReplyDetach, err)
}

// promote reads the node and behind it a blank, a NUL and the option, which 4.2 did not send.
func (c *connection) promote(ctx context.Context, p Packet) error {
	option := byte(PromoteOnly)
	if f := p.Strings(); len(f) > 1 && f[1] != "" {
		option = f[1][0]
	}
	if option != PromoteOnly && option != PromoteSwitchover {
		return fail("could not process promote request", fmt.Sprintf("invalid option %q", string(rune(option))))
	}
	id, switchover, gracefully := node(p), option == PromoteSwitchover, p.Type == TypePromoteGraceful
	resume, err := func() {}, error(nil)
	if gracefully {
		resume, err = c.quiesce(ctx, c.control().CheckPromote(id, switchover))
	}
	defer resume()
	if err == nil {
		err = c.control().Promote(ctx, id, switchover, gracefully, c.out.tell)
	}
	return c.done(ReplyDetach, err)
}

// quiesce waits until no client is connected, unless the change would be refused anyway. Waiting ends when the administrator hangs
// up; the change does not.
func (c *connection) quiesce(ctx context.Context, refused error) (resume func(), err error) {
	resume = func() {}
	if refused != nil {
		return resume, refused
	}
	err = c.watched(ctx, func(ctx context.Context) (err error) {
		resume, err = c.control().Quiesce(ctx)
		return err
	})
	return resume, err
}

// recovery goes on when the client hangs up: a server that is half rebuilt helps nobody.
func (c *connection) recovery(ctx context.Context, id cluster.NodeID) error {
	if err := c.busy(); err != nil {
		return err
	}
	return c.done(ReplyAttach, c.control().Recover(ctx, id))
}

// busy refuses what must not meet a failover.
func (c *connection) busy() error {
	v, _ := c.control().Cluster()
	if v.Op == cluster.OpNone {
		return nil
	}
	return fail("failed to process PCP request at the moment", v.Op.String()+" is in progress")
}

// everywhere does something here, after all other nodes have said that they will where that is asked for.
func (c *connection) everywhere(ctx context.Context, p Packet, typ byte, what ClusterCommand, here func() error) error {
	if len(p.Payload) > 0 && p.Payload[0] == ScopeCluster {
		if err := c.control().Elsewhere(ctx, what, 0); err != nil {
			return err
		}
	}
	return c.done(typ, here())
}

// stop answers before the stop begins.
func (c *connection) stop(ctx context.Context, p Packet) error {
	if p.Type == TypeStop {
		if err := c.busy(); err != nil {
			return err
		}
	}
	mode := StopMode(0)
	if len(p.Payload) > 0 {
		mode = StopMode(p.Payload[0])
	}
	if !slices.Contains([]StopMode{StopSmart, StopFast, StopImmediate}, mode) {
		return fail("PCP: error while processing shutdown request", fmt.Sprintf("invalid shutdown mode %q", string(rune(mode))))
	}
	if p.Type == TypeStopCluster {
		if err := c.control().Elsewhere(ctx, ClusterStop, mode); err != nil {
			return err
		}
	}
	c.out.strings(ReplyStop, TagComplete)
	if err := c.out.flush(); err != nil {
		return nil // gone without waiting for the answer; the flush behind this tells
	}
	// The programs say goodbye before they print, and die of SIGPIPE where nobody takes it.
	_ = c.conn.SetReadDeadline(time.Now().Add(lingerTime))
	_ = c.in.Await()
	if err := c.control().Stop(mode); err != nil {
		c.log.Log(logging.Event{Severity: logging.Error, Message: "PCP: error while processing shutdown request", Detail: err.Error()})
	}
	return nil
}

// levels are the values of client_min_messages, which has no effect: the few notices there are always go out.
const levels = " debug5 debug4 debug3 debug2 debug1 log commerror info notice warning error "

func (c *connection) set(p Packet) error {
	const refused = "PCP: set configuration parameter failed"
	f := append(p.Strings(), "", "")
	name, value := f[0], f[1]
	switch {
	case !strings.EqualFold(name, "client_min_messages"):
		return fail(refused, fmt.Sprintf(`invalid parameter "%s"`, name))
	case strings.Contains(value, " ") || !strings.Contains(levels, " "+strings.ToLower(value)+" "):
		return fail(refused, fmt.Sprintf(`invalid value "%s" for parameter "%s"`, value, name))
	}
	c.out.strings(ReplySet, TagComplete)
	return nil
}

// array sends the first packet of several: the number of rows in digits.
func (c *connection) array(typ byte, rows int) { c.out.strings(typ, TagArraySize, strconv.Itoa(rows)) }

// poolStatus has the number of its rows in binary, unlike the others.
func (c *connection) poolStatus(ctx context.Context) error {
	rows := c.control().PoolStatus(ctx)
	count := binary.BigEndian.AppendUint32([]byte(TagArraySize+"\x00"), uint32(len(rows)))
	c.out.packet(ReplyPoolStatus, count)
	for _, r := range rows {
		c.out.strings(ReplyPoolStatus, TagProcessConfig, bounded(r.Name, 63), bounded(r.Value, 511), bounded(r.Description, 79))
	}
	return c.done(ReplyPoolStatus, nil)
}

// bounded cuts a text to what the clients have room for.
func bounded(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

func (c *connection) procCount(ctx context.Context) error {
	pids := c.control().Processes(ctx)
	fields := []string{TagComplete, strconv.Itoa(len(pids))}
	for _, pid := range pids {
		fields = append(fields, strconv.Itoa(pid))
	}
	c.out.strings(ReplyProcCount, fields...)
	return nil
}

// procInfo tells of one worker, or with 0 of all.
func (c *connection) procInfo(ctx context.Context, pid int) error {
	rows := c.control().Pools(ctx)
	if pid != 0 {
		rows = slices.DeleteFunc(rows, func(r Pool) bool { return r.PID != pid })
	}
	if pid != 0 && len(rows) == 0 {
		return fail("informing process info failed", fmt.Sprintf("invalid process ID : %d", pid))
	}
	c.array(ReplyProcInfo, len(rows))
	for _, r := range rows {
		c.out.strings(ReplyProcInfo, append([]string{TagProcessInfo, strconv.Itoa(r.PID)}, r.Fields...)...)
	}
	return c.done(ReplyProcInfo, nil)
}

func (c *connection) healthCheckStats(id int) error {
	const refused = "informing health check stats info failed"
	rows := c.control().HealthCheckStats()
	switch {
	case id < 0 || id > len(rows):
		return fail(refused, fmt.Sprintf("invalid node ID %d", id))
	case id == len(rows):
		return fail(refused, fmt.Sprintf("stats data for node ID %d does not exist", id))
	}
	c.out.strings(ReplyHealthCheckStats, append([]string{TagComplete}, rows[id]...)...)
	return nil
}

// watchdogInfo passes the document of the watchdog through; clients want it on one line.
func (c *connection) watchdogInfo(id int) error {
	document, err := c.control().Watchdog(id)
	if err != nil {
		return err
	}
	c.out.strings(ReplyWatchdogInfo, TagComplete, document)
	return nil
}
