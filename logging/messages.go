package logging

import "strconv"

// BackendMessageMode is log_backend_messages, with the numbers SHOW pool_status prints.
type BackendMessageMode uint8

// The modes.
const (
	BackendMessagesNone BackendMessageMode = iota + 1
	BackendMessagesTerse
	BackendMessagesVerbose
)

// ClientMessage is the line of log_client_messages for a message without details.
func ClientMessage(kind byte) Event {
	return Event{Severity: Log, Message: clientMessageName(kind) + " message from frontend."}
}

// QueryMessage is the line of log_client_messages for a simple query.
func QueryMessage(sql string) Event { return clientMessage('Q', `query: "`+sql+`"`) }

// ParseMessage is the line of log_client_messages for Parse.
func ParseMessage(statement, sql string) Event {
	return clientMessage('P', `statement: "`+statement+`", query: "`+sql+`"`)
}

// BindMessage is the line of log_client_messages for Bind.
func BindMessage(portal, statement string) Event {
	return clientMessage('B', `portal: "`+portal+`", statement: "`+statement+`"`)
}

// ExecuteMessage is the line of log_client_messages for Execute.
func ExecuteMessage(portal string) Event { return clientMessage('E', `portal: "`+portal+`"`) }

// DescribeMessage is the line of log_client_messages for Describe; what is 'S' or 'P'.
func DescribeMessage(what byte, name string) Event { return clientMessage('D', object(what, name)) }

// CloseMessage is the line of log_client_messages for Close; what is 'S' or 'P'.
func CloseMessage(what byte, name string) Event { return clientMessage('C', object(what, name)) }

func object(what byte, name string) string {
	if what == 'P' {
		return `portal: "` + name + `"`
	}
	return `statement: "` + name + `"`
}

func clientMessage(kind byte, detail string) Event {
	e := ClientMessage(kind)
	e.Detail = detail
	return e
}

// BackendMessages writes the lines of log_backend_messages for one session. The zero value is ready; the session owns it.
type BackendMessages struct {
	kind    byte
	node    int
	repeats int
}

// Message tells of one message from a server. Terse counts repeats of the same message from the same node and tells their
// number when another one follows.
func (m *BackendMessages) Message(l Logger, mode BackendMessageMode, node int, kind byte) {
	if mode != BackendMessagesTerse && mode != BackendMessagesVerbose || !l.Enabled(Log) {
		return
	}
	if mode == BackendMessagesTerse && m.kind == kind && m.node == node {
		m.repeats++
		return
	}
	m.Flush(l)
	m.kind, m.node = kind, node
	l.Log(Event{Severity: Log, Node: OnNode(node), Message: backendMessageName(kind) + from(node)})
}

// Flush tells of repeats not yet told; called at the end of a session, too.
func (m *BackendMessages) Flush(l Logger) {
	if m.repeats > 0 {
		l.Log(Event{Severity: Log, Node: OnNode(m.node), Message: "last " + backendMessageName(m.kind) + from(m.node) +
			" repeated " + strconv.Itoa(m.repeats) + " times"})
	}
	*m = BackendMessages{}
}

func from(node int) string { return " message from backend " + strconv.Itoa(node) }

// clientMessageName is the protocol's name of a message from a client.
func clientMessageName(kind byte) string {
	switch kind {
	case 'B':
		return "Bind"
	case 'C':
		return "Close"
	case 'D':
		return "Describe"
	case 'E':
		return "Execute"
	case 'F':
		return "FunctionCall"
	case 'H':
		return "Flush"
	case 'P':
		return "Parse"
	case 'Q':
		return "Query"
	case 'S':
		return "Sync"
	case 'X':
		return "Terminate"
	case 'c':
		return "CopyDone"
	case 'd':
		return "CopyData"
	case 'f':
		return "CopyFail"
	case 'p':
		return "PasswordMessage"
	}
	return "Unknown (" + strconv.QuoteRune(rune(kind)) + ")"
}

// backendMessageName is the protocol's name of a message from a server.
func backendMessageName(kind byte) string {
	switch kind {
	case '1':
		return "ParseComplete"
	case '2':
		return "BindComplete"
	case '3':
		return "CloseComplete"
	case 'A':
		return "NotificationResponse"
	case 'C':
		return "CommandComplete"
	case 'D':
		return "DataRow"
	case 'E':
		return "ErrorResponse"
	case 'G':
		return "CopyInResponse"
	case 'H':
		return "CopyOutResponse"
	case 'I':
		return "EmptyQueryResponse"
	case 'K':
		return "BackendKeyData"
	case 'N':
		return "NoticeResponse"
	case 'R':
		return "Authentication"
	case 'S':
		return "ParameterStatus"
	case 'T':
		return "RowDescription"
	case 'V':
		return "FunctionCallResponse"
	case 'W':
		return "CopyBothResponse"
	case 'Z':
		return "ReadyForQuery"
	case 'c':
		return "CopyDone"
	case 'd':
		return "CopyData"
	case 'n':
		return "NoData"
	case 's':
		return "PortalSuspended"
	case 't':
		return "ParameterDescription"
	case 'v':
		return "NegotiateProtocolVersion"
	}
	return "Unknown (" + strconv.QuoteRune(rune(kind)) + ")"
}
