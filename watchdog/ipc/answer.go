package ipc

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"

	"gopgpool/logging"
)

// Watchdog is what a request is about. Its methods may be called from several goroutines, and must not take longer than a client
// waits, some seconds.
type Watchdog interface {
	// Cluster is the state; its slice must not change afterwards.
	Cluster() Cluster
	// StatusChange takes the verdict of an external life check about a node, by its pgpool_node_id. The error is told to the client.
	StatusChange(node int, dead bool, message string) error
	// Variable is the value of a variable that others may ask for, an int, int64, string or bool: VariableState, VariableQuorum,
	// VariableEscalated. ok is false for a name that means nothing.
	Variable(name string) (value any, ok bool)
}

// Names of variables.
const (
	VariableState     = "WDState"     // int: the code of the local node's state
	VariableQuorum    = "QuorumState" // int
	VariableEscalated = "Escalated"   // bool
)

// access is who may send a request.
type access uint8

const (
	accessKey      access = iota // who knows wd_authkey
	accessInternal               // nobody: another process of Pgpool-II's, which we have not
)

// verdict is the answer to a request and what the log is told of it.
type verdict struct {
	reply message // no type: the connection is closed without a word
	event logging.Event
}

// answer carries out a request. key is wd_authkey, "" if none is needed.
func answer(m message, key string, w Watchdog) verdict {
	o, err := parseObject(m.text())
	internal := accessOf(m.typ) == accessInternal
	switch {
	case err != nil && (key != "" || internal):
		return invalidData(len(m.text()) == 0)
	case internal || !authentic(o, key):
		return verdict{bad("authentication failed: invalid KEY"), logging.Event{
			Severity: logging.Warning, Message: "authentication failed", Detail: "invalid IPC key",
		}}
	}
	switch m.typ {
	case TypeRegister:
		return verdict{}
	case TypeStatusChange:
		return statusChange(o, w)
	case TypeNodes:
		return nodes(o, w)
	case TypeVariable:
		return verdict{reply: variable(o, w)}
	default:
		return verdict{reply: bad("unknown IPC command type")}
	}
}

func accessOf(typ byte) access {
	switch typ {
	case typeFailover, typeFailoverMark, typeOnlineRecovery, typeLeaderData, typeCluster:
		return accessInternal
	default:
		return accessKey
	}
}

// authentic compares the key in a time that tells nothing about it, not even its length.
func authentic(o object, key string) bool {
	if key == "" {
		return true
	}
	given, _ := o.string("IPCAuthKey")
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(key))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func invalidData(none bool) verdict {
	detail := "IPC command contains an invalid data"
	if none {
		detail = "IPC command contains no data"
	}
	return verdict{bad("authentication failed: invalid data"), logging.Event{
		Severity: logging.Log, Message: "authentication failed", Detail: detail,
	}}
}

// bad refuses a request; without a reason the data are empty.
func bad(reason string) message {
	if reason == "" {
		return message{typ: ReplyBad}
	}
	return message{ReplyBad, append(appendString([]byte(`{"MESSAGE":`), reason), '}', 0)}
}

func nodes(o object, w Watchdog) verdict {
	id, ok := o.integer("NodeID")
	if !ok {
		return verdict{reply: bad("")}
	}
	return verdict{reply: message{ReplyOK, append(EncodeNodes(w.Cluster(), id), 0)}}
}

// statusChange has no reply if all is well.
func statusChange(o object, w Watchdog) verdict {
	node, hasNode := o.integer("NodeID")
	status, hasStatus := o.integer("NodeStatus")
	if !hasNode || !hasStatus || (status != statusDead && status != statusAlive) {
		return verdict{reply: bad("")}
	}
	text, _ := o.string("Message")
	if err := w.StatusChange(node, status == statusDead, text); err != nil {
		return verdict{bad(err.Error()), logging.Event{
			Severity: logging.Log, Message: "failed to process node status change event", Detail: err.Error(),
		}}
	}
	return verdict{}
}

func variable(o object, w Watchdog) message {
	name, ok := o.string("VarName")
	if !ok {
		return bad("requested variable name is null")
	}
	for _, known := range []string{VariableState, VariableQuorum, VariableEscalated} {
		if strings.EqualFold(name, known) {
			name = known
		}
	}
	value, ok := w.Variable(name)
	if !ok {
		return bad("unknown variable requested")
	}
	return message{ReplyOK, append(encodeValue(value), 0)}
}

func encodeValue(value any) []byte {
	switch v := value.(type) {
	case int:
		return fmt.Appendf(nil, `{"ValueDataType":%d,"ValueData":%d}`, kindInt, v)
	case int64:
		return fmt.Appendf(nil, `{"ValueDataType":%d,"ValueData":%d}`, kindLong, v)
	case bool:
		return fmt.Appendf(nil, `{"ValueDataType":%d,"ValueData":%d}`, kindBool, oneOrZero(v))
	case string:
		return append(appendString(fmt.Appendf(nil, `{"ValueDataType":%d,"ValueData":`, kindString), v), '}')
	default:
		panic(fmt.Sprintf("watchdog/ipc: a variable of type %T", value))
	}
}
