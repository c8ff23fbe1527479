package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// clientTime is how long a client waits for a request to be carried out (manual: watchdog timers).
const clientTime = 8 * time.Second

// Errors of a client, beside *RefusedError and those of connecting.
var (
	// ErrNoReply is a server that closed the connection without a reply where one is due.
	ErrNoReply = errors.New("the watchdog closed the connection without a reply")
	// ErrNotJSON is a reply that cannot be read.
	ErrNotJSON = errors.New("the watchdog's reply is not a JSON object")
	// ErrIncomplete is a reply that lacks something.
	ErrIncomplete = errors.New("the watchdog's reply lacks a field")
)

// RefusedError is a reply that is not ReplyOK.
type RefusedError struct {
	Reply   byte   // ReplyBad, ReplyTransition, ReplyTimeout, or what else came
	Message string // why, which need not be known
}

func (e *RefusedError) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return fmt.Sprintf("the watchdog refused the request, reply type %q", e.Reply)
}

// Client asks the watchdog of a pgpool on this machine. It holds no connection: a request is one. It may be used from any goroutine.
type Client struct{ path, key string }

// NewClient asks at the socket of that directory and port (see SocketPath), with wd_authkey, which is empty if there is none.
func NewClient(dir string, port int, key string) *Client {
	return &Client{path: SocketPath(dir, port), key: key}
}

// Nodes asks for a node by its id, or for AllNodes. document is what came.
func (c *Client) Nodes(ctx context.Context, id int) (state Cluster, document []byte, err error) {
	m, err := c.ask(ctx, TypeNodes, c.field(fmt.Appendf(nil, `{"NodeID":%d`, id)))
	if err != nil {
		return Cluster{}, nil, err
	}
	document = m.text()
	state, err = DecodeNodes(document)
	return state, document, err
}

// Variable asks for a variable; value is an int, int64, string or bool.
func (c *Client) Variable(ctx context.Context, name string) (value any, err error) {
	m, err := c.ask(ctx, TypeVariable, c.field(appendString([]byte(`{"VarName":`), name)))
	if err != nil {
		return nil, err
	}
	return decodeValue(m.text())
}

// StatusChange reports a verdict of an external life check. No error means that it was delivered.
func (c *Client) StatusChange(ctx context.Context, node int, dead bool, message string) error {
	status := statusAlive
	if dead {
		status = statusDead
	}
	data := fmt.Appendf(nil, `{"NodeID":%d,"NodeStatus":%d`, node, status)
	if message != "" {
		data = appendString(append(data, `,"Message":`...), message)
	}
	if _, err := c.ask(ctx, TypeStatusChange, c.field(data)); !errors.Is(err, ErrNoReply) {
		return err
	}
	return nil
}

// field adds the key to an object that is not closed yet, and closes it.
func (c *Client) field(data []byte) []byte {
	if c.key != "" {
		data = appendString(append(data, `,"IPCAuthKey":`...), c.key)
	}
	return append(data, '}')
}

// ask sends a request and returns the reply, which is ReplyOK.
func (c *Client) ask(ctx context.Context, typ byte, data []byte) (message, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.path)
	if err != nil {
		return message{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // harmless after the end
	defer stop()
	_, sent := conn.Write(appendMessage(nil, typ, data)) // a server may refuse before it has read all
	m, err := readMessage(conn, maxReply)
	switch {
	case ctx.Err() != nil:
		return message{}, context.Cause(ctx)
	case errors.Is(err, io.EOF) && sent == nil:
		return message{}, ErrNoReply
	case err != nil:
		return message{}, errors.Join(sent, err)
	case m.typ != ReplyOK:
		return message{}, refused(m)
	}
	return m, nil
}

func refused(m message) error {
	e := &RefusedError{Reply: m.typ}
	if o, err := parseObject(m.text()); err == nil {
		e.Message, _ = o.string("MESSAGE")
	}
	return e
}

func decodeValue(text []byte) (any, error) {
	o, err := parseObject(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	kind, _ := o.integer("ValueDataType")
	number, isNumber := o.integer("ValueData")
	word, isString := o.string("ValueData")
	switch {
	case kind == kindInt && isNumber:
		return number, nil
	case kind == kindLong && isNumber:
		return int64(number), nil
	case kind == kindBool && isNumber:
		return number != 0, nil
	case kind == kindString && isString:
		return word, nil
	}
	return nil, fmt.Errorf("%w: ValueData", ErrIncomplete)
}

// DecodeNodes reads the document of EncodeNodes, and that of older releases, which have no membership and call the leader master. What
// those do not tell is -1, or NOT-Available.
func DecodeNodes(document []byte) (Cluster, error) {
	o, err := parseObject(document)
	if err != nil {
		return Cluster{}, fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	f := fields{object: o}
	c := Cluster{
		Remote: f.need("RemoteNodeCount"), MemberRemote: f.integerOr("MemberRemoteNodeCount", -1),
		RequiredForQuorum: f.integerOr("NodesRequireForQuorum", -1), Quorum: f.need("QuorumStatus"), AliveRemote: f.need("AliveNodeCount"),
		Escalated: f.need("Escalated") != 0, LeaderName: f.text("LeaderNodeName", "MasterNodeName"),
		LeaderHost: f.text("LeaderHostName", "MasterHostName"),
	}
	count := f.need("NodeCount")
	list, _ := o.field("WatchdogNodes")
	var nodes []object
	if json.Unmarshal(list, &nodes) != nil || len(nodes) != count {
		f.missing("WatchdogNodes")
	}
	for _, n := range nodes {
		f.object = n
		c.Nodes = append(c.Nodes, f.node())
	}
	return c, f.err
}

// fields reads the fields of an object; err is the first that is missing.
type fields struct {
	object object
	err    error
}

func (f *fields) missing(name string) {
	if f.err == nil {
		f.err = fmt.Errorf("%w: %s", ErrIncomplete, name)
	}
}

func (f *fields) need(name string) int {
	n, ok := f.object.integer(name)
	if !ok {
		f.missing(name)
	}
	return n
}

func (f *fields) integerOr(name string, other int) int {
	if n, ok := f.object.integer(name); ok {
		return n
	}
	return other
}

func (f *fields) text(names ...string) string {
	for _, name := range names {
		if s, ok := f.object.string(name); ok {
			return s
		}
	}
	f.missing(names[0])
	return ""
}

func (f *fields) node() Node {
	n := Node{
		ID: f.need("ID"), State: f.need("State"), StateName: f.text("StateName"), Membership: f.integerOr("Membership", 0),
		MembershipName: notAvailable, Name: f.text("NodeName"), Host: f.text("HostName"), DelegateIP: f.text("DelegateIP"),
		WdPort: f.need("WdPort"), PgpoolPort: f.need("PgpoolPort"), Priority: f.need("Priority"),
	}
	if s, ok := f.object.string("MembershipString"); ok {
		n.MembershipName = s
	}
	return n
}
