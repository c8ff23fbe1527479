package logging

import (
	"fmt"
	"strconv"
	"time"
)

// This file holds the texts administrators and test suites search for. They follow the manual's section on what to log;
// a change here breaks somebody's grep.

// hostPort is the client's address in the words of the log lines; a client on a Unix socket has no port.
func hostPort(host, port string) string {
	if port == "" {
		return "host=" + host
	}
	return "host=" + host + " port=" + port
}

// Address is host:port for the client field; [local] stays as it is.
func Address(host, port string) string {
	if port == "" {
		return host
	}
	return host + ":" + port
}

// NewConnection is the line of log_connections. Host is an address, a name (log_hostname) or "[local]", then port is "".
func NewConnection(host, port string) Event {
	return Event{
		Severity: Log, Message: "new connection received", Detail: "connecting " + hostPort(host, port),
		Client: Address(host, port),
	}
}

// Disconnection is the line of log_disconnections; session is how long the client was connected.
func Disconnection(session time.Duration, user, db, host, port string) Event {
	return Event{
		Severity: Log,
		Message: "frontend disconnection: session time: " + clockTime(session) +
			" user=" + user + " database=" + db + " " + hostPort(host, port),
		DB: db, User: user, Client: Address(host, port),
	}
}

// clockTime is h:mm:ss.mmm.
func clockTime(d time.Duration) string {
	ms := max(d.Milliseconds(), 0)
	return fmt.Sprintf("%d:%02d:%02d.%03d", ms/3600000, ms/60000%60, ms/1000%60, ms%1000)
}

// Statement is the line of log_statement.
func Statement(sql string) Event {
	return Event{Severity: Log, Message: "statement: " + sql}
}

// NodeStatement is the line of log_per_node_statement; pid is the server's process id. In the extended protocol the text
// is what NodeText makes of it.
func NodeStatement[T ~int](node T, pid uint32, text string) Event {
	return Event{
		Severity: Log, Node: OnNode(node),
		Message: "DB node id: " + strconv.Itoa(int(node)) + " backend pid: " + strconv.FormatUint(uint64(pid), 10) +
			" statement: " + text,
	}
}

// NodeStatementNotice is the NOTICE of notice_per_node_statement, for the log and the client.
func NodeStatementNotice[T ~int](node T, text string) Event {
	return Event{
		Severity: Notice, Node: OnNode(node),
		Message: "DB node id: " + strconv.Itoa(int(node)) + " statement: " + text,
	}
}

// NodeText is the text of a message of the extended protocol in the per-node lines: the statement behind the name for
// Parse ('P'), Bind ('B') and Execute ('E'), the bare letter for others.
func NodeText(kind byte, sql string) string {
	switch kind {
	case 'P':
		return "Parse: " + sql
	case 'B':
		return "Bind: " + sql
	case 'E':
		return "Execute: " + sql
	case 'Q':
		return sql
	}
	return string(rune(kind)) + " message"
}

// CacheFetch is the line of log_per_node_statement for a result that came from the query cache.
func CacheFetch(sql string) Event {
	return Event{
		Severity: Log, Message: "fetch from memory cache",
		Detail: "query result fetched from cache. statement: " + sql,
	}
}

// AuthenticationTimeout tells that a client did not log in within authentication_timeout.
func AuthenticationTimeout() Event {
	return Event{Severity: Log, Message: "authentication timeout"}
}

// Unparsable tells of a statement the grammar does not know. Host is "[local]" or "" for a Unix socket.
func Unparsable(sql, host, port string) Event {
	from := "local client"
	if port != "" {
		from = "client " + host + "(" + port + ")"
	}
	return Event{Severity: Log, Message: `Unable to parse the query: "` + sql + `" from ` + from}
}

// ReplicationDelayBytes tells how far a standby is behind, in bytes of WAL.
func ReplicationDelayBytes[T ~int](node, primary T, behind uint64) Event {
	return Event{Severity: Log, Node: OnNode(node), Message: fmt.Sprintf(
		"Replication of node: %d is behind %d bytes from the primary server (node: %d)", node, behind, primary)}
}

// ReplicationDelayTime tells how far a standby is behind in time.
func ReplicationDelayTime[T ~int](node, primary T, behind time.Duration) Event {
	return Event{Severity: Log, Node: OnNode(node), Message: fmt.Sprintf(
		"Replication of node: %d is behind %.6f second(s) from the primary server (node: %d)", node, behind.Seconds(), primary)}
}

// Started is the line that tells that the daemon serves clients.
func Started(version string) Event {
	return Event{Severity: Log, Message: "pgpool-II successfully started. version " + version}
}

// NodeStatus is the line about a node at the start: 0 unused, 1 primary, 2 standby, 3 neither.
func NodeStatus[T ~int](node T, status int) Event {
	return Event{Severity: Log, Node: OnNode(node), Message: fmt.Sprintf("node status[%d]: %d", node, status)}
}
