package ipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"gopgpool/logging"
)

const (
	// What Debian's Pgpool-II 4.3.5 answers in the state of world.
	head = `{"RemoteNodeCount":2,"MemberRemoteNodeCount":2,"NodesRequireForQuorum":2,"QuorumStatus":1,"AliveNodeCount":1,"Escalated":0,` +
		`"LeaderNodeName":"127.0.0.1:21211 Linux vm","LeaderHostName":"127.0.0.1",`
	node0 = `{"ID":0,"State":7,"Membership":0,"MembershipString":"MEMBER","NodeName":"127.0.0.1:21210 Linux vm","HostName":"127.0.0.1",` +
		`"StateName":"STANDBY","DelegateIP":"Not_Set","WdPort":21230,"PgpoolPort":21210,"Priority":1}`
	node1 = `{"ID":1,"State":4,"Membership":0,"MembershipString":"MEMBER","NodeName":"127.0.0.1:21211 Linux vm","HostName":"127.0.0.1",` +
		`"StateName":"LEADER","DelegateIP":"Not_Set","WdPort":21231,"PgpoolPort":21211,"Priority":1}`
	node2 = `{"ID":2,"State":0,"Membership":0,"MembershipString":"MEMBER","NodeName":"Not_Set","HostName":"127.0.0.1","StateName":"DEAD",` +
		`"DelegateIP":"Not_Set","WdPort":21232,"PgpoolPort":21212,"Priority":0}`
	stranger = `{"ID":-1,"State":-1,"Membership":-1,"MembershipString":"Not_Set","NodeName":"Not_Set","HostName":"Not_Set",` +
		`"StateName":"Not_Set","DelegateIP":"Not_Set","WdPort":0,"PgpoolPort":0,"Priority":0}`

	allNodes = head + `"NodeCount":3,"WatchdogNodes": [` + node0 + `,` + node1 + `,` + node2 + `]}`
)

func one(node string) string { return head + `"NodeCount":1,"WatchdogNodes": [` + node + `]}` }

const (
	badKey  = `6 {"MESSAGE":"authentication failed: invalid KEY"}\0`
	badData = `6 {"MESSAGE":"authentication failed: invalid data"}\0`
	silence = ""
)

// Except where a row says so, the replies are those of Debian's Pgpool-II 4.3.5.
func TestAnswer(t *testing.T) {
	t.Parallel()
	const k = `"IPCAuthKey":"sesame"`
	for _, tt := range []struct {
		typ        byte
		key        string
		data, want string
	}{
		{'3', "sesame", `{"NodeID":-1,` + k + `}`, `7 ` + allNodes + `\0`},
		{'3', "sesame", `{"NodeID":-2,` + k + `}`, `7 ` + allNodes + `\0`},
		{'3', "sesame", `{"NodeID":0,` + k + `}`, `7 ` + one(node0) + `\0`},
		{'3', "sesame", `{"NodeID":1,` + k + `}`, `7 ` + one(node1) + `\0`},
		{'3', "sesame", `{"nodeid":2,` + k + `}` + "\x00rest", `7 ` + one(node2) + `\0`},
		{'3', "sesame", `{"NodeID":9,` + k + `}`, `7 ` + one(stranger) + `\0`},
		{'3', "sesame", `{` + k + `}`, `6 `},
		{'3', "sesame", `{"NodeID":"1",` + k + `}`, `6 `},
		{'3', "sesame", `{"NodeID":1.0,` + k + `}`, `6 `},
		{'3', "sesame", `{"NodeID":null,` + k + `}`, `6 `},
		{'3', "sesame", `{"NodeID":-1}`, badKey},
		{'3', "sesame", `{"NodeID":-1,"IPCAuthKey":"bad"}`, badKey},
		{'3', "sesame", `{"NodeID":-1,"IPCAuthKey":5}`, badKey},
		{'3', "sesame", `{"NodeID":-1,"IPCAuthKey":""}`, badKey},
		{'3', "sesame", ``, badData},
		{'3', "sesame", `xx`, badData},
		{'3', "sesame", `[1,2]`, badData},
		{'3', "sesame", `null`, badData},
		{'3', "sesame", `{"NodeID":1,` + k + `} xx`, badData},
		{'3', "", ``, `6 `},
		{'3', "", `xx`, `6 `},
		{'3', "", `{"NodeID":0}`, `7 ` + one(node0) + `\0`},
		{'3', "", `{"NodeID":0,"IPCAuthKey":"any"}`, `7 ` + one(node0) + `\0`},

		{'v', "sesame", `{"VarName":"WDState",` + k + `}`, `7 {"ValueDataType":1,"ValueData":7}\0`},
		{'v', "sesame", `{"VarName":"wdstate",` + k + `}`, `7 {"ValueDataType":1,"ValueData":7}\0`},
		{'v', "sesame", `{"VarName":"QuorumState",` + k + `}`, `7 {"ValueDataType":1,"ValueData":-2}\0`},
		{'v', "sesame", `{"VarName":"ESCALATED",` + k + `}`, `7 {"ValueDataType":3,"ValueData":1}\0`},
		{'v', "sesame", `{"VarName":"a long",` + k + `}`, `7 {"ValueDataType":4,"ValueData":1099511627776}\0`}, // the original has none
		{'v', "sesame", `{"VarName":"a string",` + k + `}`, `7 {"ValueDataType":2,"ValueData":"x\"\u000a"}\0`}, // likewise
		{'v', "sesame", `{"VarName":"Foo",` + k + `}`, `6 {"MESSAGE":"unknown variable requested"}\0`},
		{'v', "sesame", `{"VarName":"",` + k + `}`, `6 {"MESSAGE":"unknown variable requested"}\0`},
		{'v', "sesame", `{"VarName":5,` + k + `}`, `6 {"MESSAGE":"requested variable name is null"}\0`},
		{'v', "sesame", `{` + k + `}`, `6 {"MESSAGE":"requested variable name is null"}\0`},
		{'v', "sesame", `{"VarName":"WDState"}`, badKey},

		{'0', "sesame", `{` + k + `}`, silence},
		{'0', "sesame", ``, badData},                  // the original hangs
		{'0', "sesame", `{"IPCAuthKey":"x"}`, badKey}, // the original hangs

		{'2', "sesame", `{"NodeID":1,"NodeStatus":2,"Message":"hi",` + k + `}`, silence},
		{'2', "sesame", `{` + k + `}`, `6 `},
		{'2', "sesame", `{"NodeID":1,` + k + `}`, `6 `},
		{'2', "sesame", `{"NodeID":1,"NodeStatus":3,` + k + `}`, `6 `},                                              // the original ignores it
		{'2', "sesame", `{"NodeID":99,"NodeStatus":1,` + k + `}`, `6 {"MESSAGE":"invalid Node ID in the event"}\0`}, // the original: no reason
		{'2', "sesame", `{"NodeID":1,"NodeStatus":2}`, badKey},
		{'2', "", `{"NodeID":0,"NodeStatus":1}`, silence},

		{'f', "sesame", `{"IPCSharedKey":5,` + k + `}`, badKey},
		{'i', "sesame", `{"IPCSharedKey":5,` + k + `}`, badKey}, // the original asks for no shared key here
		{'r', "sesame", `{` + k + `}`, badKey},
		{'d', "sesame", `{` + k + `}`, badKey},
		{'c', "sesame", `{` + k + `}`, badKey},
		{'c', "", `{}`, badKey},
		{'c', "", ``, badData},
		{'z', "sesame", `{` + k + `}`, `6 {"MESSAGE":"unknown IPC command type"}\0`},
		{'7', "sesame", `{` + k + `}`, `6 {"MESSAGE":"unknown IPC command type"}\0`},
		{'z', "sesame", ``, badData},
	} {
		v := answer(message{tt.typ, []byte(tt.data)}, tt.key, &world{})
		if got := written(v.reply); got != tt.want {
			t.Errorf("%c %s:\n got %s\nwant %s", tt.typ, tt.data, got, tt.want)
		}
	}
}

func written(m message) string {
	if m.typ == 0 {
		return silence
	}
	return string(m.typ) + " " + strings.ReplaceAll(string(m.data), "\x00", `\0`)
}

// What the log is told of a refusal (administrators search for these lines).
func TestEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		data string
		want logging.Event
	}{
		{``, logging.Event{Severity: logging.Log, Message: "authentication failed", Detail: "IPC command contains no data"}},
		{`x`, logging.Event{Severity: logging.Log, Message: "authentication failed", Detail: "IPC command contains an invalid data"}},
		{`{}`, logging.Event{Severity: logging.Warning, Message: "authentication failed", Detail: "invalid IPC key"}},
		{`{"IPCAuthKey":"k","NodeID":7,"NodeStatus":1}`, logging.Event{
			Severity: logging.Log, Message: "failed to process node status change event", Detail: "invalid Node ID in the event",
		}},
		{`{"IPCAuthKey":"k","NodeID":1,"NodeStatus":1}`, logging.Event{}},
	} {
		if v := answer(message{'2', []byte(tt.data)}, "k", &world{}); v.event != tt.want {
			t.Errorf("%s: %+v", tt.data, v.event)
		}
	}
}

func TestStatusChangeReachesTheWatchdog(t *testing.T) {
	t.Parallel()
	w := &world{}
	answer(message{'2', []byte(`{"NodeID":1,"NodeStatus":1,"Message":"a\"b"}`)}, "", w)
	answer(message{'2', []byte(`{"NodeID":2,"NodeStatus":2}`)}, "", w)
	if want := []string{`1 dead=true "a\"b"`, `2 dead=false ""`}; !reflect.DeepEqual(w.all(), want) {
		t.Errorf("%q", w.all())
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for state, want := range map[int]string{-1: "NOT-Available", 0: "DEAD", 4: "LEADER", 7: "STANDBY", 12: "NETWORK ISOLATION", 13: "NOT-Available"} {
		if got := StateName(state); got != want {
			t.Errorf("state %d: %s", state, got)
		}
	}
	for membership, want := range map[int]string{-1: "NOT-Available", 0: "MEMBER", 3: "REVOKED-LOST", 4: "NOT-Available"} {
		if got := MembershipName(membership); got != want {
			t.Errorf("membership %d: %s", membership, got)
		}
	}
}

// Without a leader, without nodes, and with texts that are no plain ASCII, it is still JSON.
func TestEncodeNodes(t *testing.T) {
	t.Parallel()
	want := `{"RemoteNodeCount":0,"MemberRemoteNodeCount":0,"NodesRequireForQuorum":0,"QuorumStatus":-2,"AliveNodeCount":0,"Escalated":1,` +
		`"LeaderNodeName":"Not Set","LeaderHostName":"Not Set","NodeCount":0,"WatchdogNodes": []}`
	if got := string(EncodeNodes(Cluster{Quorum: QuorumNoLeader, Escalated: true}, AllNodes)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	odd := EncodeNodes(Cluster{Nodes: []Node{{Name: "ü\"\\\n\x00\xff<"}}}, AllNodes)
	var read struct{ WatchdogNodes []struct{ NodeName string } }
	if err := json.Unmarshal(odd, &read); err != nil || read.WatchdogNodes[0].NodeName != "ü\"\\\n\x00\uFFFD<" {
		t.Errorf("%s: %v", odd, err)
	}
}

func TestDecodeNodes(t *testing.T) {
	t.Parallel()
	c, err := DecodeNodes([]byte(allNodes))
	if err != nil {
		t.Fatal(err)
	}
	if again := string(EncodeNodes(c, AllNodes)); again != allNodes {
		t.Errorf("got  %s\nwant %s", again, allNodes)
	}
	old := strings.NewReplacer(`"MemberRemoteNodeCount":2,"NodesRequireForQuorum":2,`, "", `"Membership":0,"MembershipString":"MEMBER",`, "",
		"LeaderNode", "MasterNode", "LeaderHost", "MasterHost").Replace(allNodes)
	c, err = DecodeNodes([]byte(old))
	if err != nil || c.MemberRemote != -1 || c.RequiredForQuorum != -1 || c.LeaderName != "127.0.0.1:21211 Linux vm" ||
		c.Nodes[0].MembershipName != "NOT-Available" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, broken := range []string{
		`xx`, `[]`, `{}`, strings.Replace(allNodes, `"NodeCount":3,`, "", 1), strings.Replace(allNodes, `"NodeCount":3,`, `"NodeCount":4,`, 1),
		strings.Replace(allNodes, `"NodeName":"Not_Set",`, "", 1), strings.Replace(allNodes, `"ID":1`, `"ID":"1"`, 1),
		strings.Replace(allNodes, node1, "7", 1),
	} {
		if _, err := DecodeNodes([]byte(broken)); err == nil {
			t.Errorf("no error for %s", broken)
		}
	}
}

func TestReadMessage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"3\x00\x00\x00\x02{}", `3 {} <nil>`},
		{"3\x00\x00\x00\x02{}more", `3 {} <nil>`},
		{"3\x00\x00\x00\x00", `3  <nil>`},
		{"", "\x00  EOF"},
		{"3\x00", "\x00  unexpected EOF"},
		{"3\x00\x00\x00\x03{}", `3  unexpected EOF`},
		{"3\x00\x00\x00\x09{}", `3  the message is too long`},
		{"3\xff\xff\xff\xff{}", `3  the message is too long`},
	} {
		m, err := readMessage(strings.NewReader(tt.in), 8)
		if got := fmt.Sprintf("%c %s %v", m.typ, m.data, err); got != tt.want {
			t.Errorf("%q: %q", tt.in, got)
		}
	}
}

// Whatever comes, the answer is a reply of ours, and nothing reaches the watchdog without the key.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"3\x00\x00\x00\x02{}", "2\x00\x00\x00\x30" + `{"IPCAuthKey":"k","NodeID":1,"NodeStatus":1}`, "v\x00\x00\x00\x04null", "f\xff\xff\xff\xff",
		"v\x00\x00\x00\x13" + `{"VarName":"WDState"}`, "3\x00\x00\x00\x20[[[[[[[[[[[[",
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), "k")
	}
	f.Fuzz(func(t *testing.T, packet []byte, key string) {
		m, err := readMessage(bytes.NewReader(packet), maxRequest)
		if err != nil {
			return
		}
		w := &world{}
		v := answer(m, key, w)
		switch v.reply.typ {
		case 0, ReplyBad, ReplyOK:
		default:
			t.Errorf("reply type %q", v.reply.typ)
		}
		if v.reply.typ == ReplyOK && !json.Valid(v.reply.data[:len(v.reply.data)-1]) {
			t.Errorf("not JSON: %s", v.reply.data)
		}
		if key != "" && len(w.all()) > 0 && !knows(m.text(), key) {
			t.Errorf("the watchdog was told %q without the key %q", w.all(), key)
		}
	})
}

// knows reports whether a field of the object is the key.
func knows(text []byte, key string) bool {
	var fields map[string]any
	_ = json.Unmarshal(text, &fields)
	for _, v := range fields {
		if v == key {
			return true
		}
	}
	return false
}

// The client survives what a server may send.
func FuzzReply(f *testing.F) {
	f.Add([]byte(allNodes))
	f.Add([]byte(`{"ValueDataType":1,"ValueData":7}`))
	f.Add([]byte(`{"WatchdogNodes":[{}],"NodeCount":1}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		_, _ = decodeValue(document)
		c, err := DecodeNodes(document)
		if err != nil {
			return
		}
		if again, err := DecodeNodes(EncodeNodes(c, AllNodes)); err != nil || len(again.Nodes) != len(c.Nodes) {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
