package logging

import (
	"bytes"
	"testing"
	"time"
)

func TestEventTexts(t *testing.T) {
	type nodeID int
	tests := []struct {
		e    Event
		want string
	}{
		{NewConnection("10.1.2.3", "4000"), "LOG:  new connection received\nDETAIL:  connecting host=10.1.2.3 port=4000\n"},
		{NewConnection("[local]", ""), "LOG:  new connection received\nDETAIL:  connecting host=[local]\n"},
		{
			Disconnection(26*time.Hour+3*time.Minute+4*time.Second+56*time.Millisecond, "anna", "shop", "10.1.2.3", "4000"),
			"LOG:  frontend disconnection: session time: 26:03:04.056 user=anna database=shop host=10.1.2.3 port=4000\n",
		},
		{
			Disconnection(-time.Second, "anna", "shop", "[local]", ""),
			"LOG:  frontend disconnection: session time: 0:00:00.000 user=anna database=shop host=[local]\n",
		},
		{Statement("SELECT 1"), "LOG:  statement: SELECT 1\n"},
		{NodeStatement(nodeID(1), 99, "SELECT 1"), "LOG:  DB node id: 1 backend pid: 99 statement: SELECT 1\n"},
		{NodeStatement(0, 4294967295, NodeText('P', "SELECT 1")), "LOG:  DB node id: 0 backend pid: 4294967295 statement: Parse: SELECT 1\n"},
		{NodeStatementNotice(2, "SELECT 1"), "NOTICE:  DB node id: 2 statement: SELECT 1\n"},
		{NodeStatementNotice(2, NodeText('B', "SELECT 1")), "NOTICE:  DB node id: 2 statement: Bind: SELECT 1\n"},
		{NodeStatementNotice(2, NodeText('E', "SELECT 1")), "NOTICE:  DB node id: 2 statement: Execute: SELECT 1\n"},
		{NodeStatementNotice(2, NodeText('D', "SELECT 1")), "NOTICE:  DB node id: 2 statement: D message\n"},
		{NodeStatementNotice(2, NodeText('Q', "SELECT 1")), "NOTICE:  DB node id: 2 statement: SELECT 1\n"},
		{CacheFetch("SELECT 1"), "LOG:  fetch from memory cache\nDETAIL:  query result fetched from cache. statement: SELECT 1\n"},
		{AuthenticationTimeout(), "LOG:  authentication timeout\n"},
		{Unparsable("SELEC", "h", "1"), "LOG:  Unable to parse the query: \"SELEC\" from client h(1)\n"},
		{Unparsable("SELEC", "[local]", ""), "LOG:  Unable to parse the query: \"SELEC\" from local client\n"},
		{ReplicationDelayBytes(1, 0, 9000000000), "LOG:  Replication of node: 1 is behind 9000000000 bytes from the primary server (node: 0)\n"},
		{ReplicationDelayTime(1, 0, 1500*time.Millisecond), "LOG:  Replication of node: 1 is behind 1.500000 second(s) from the primary server (node: 0)\n"},
		{Started("4.7.2 (x)"), "LOG:  pgpool-II successfully started. version 4.7.2 (x)\n"},

		{QueryMessage("SELECT 1"), "LOG:  Query message from frontend.\nDETAIL:  query: \"SELECT 1\"\n"},
		{ParseMessage("s", "SELECT $1"), "LOG:  Parse message from frontend.\nDETAIL:  statement: \"s\", query: \"SELECT $1\"\n"},
		{BindMessage("p", "s"), "LOG:  Bind message from frontend.\nDETAIL:  portal: \"p\", statement: \"s\"\n"},
		{ExecuteMessage("p"), "LOG:  Execute message from frontend.\nDETAIL:  portal: \"p\"\n"},
		{DescribeMessage('S', "s"), "LOG:  Describe message from frontend.\nDETAIL:  statement: \"s\"\n"},
		{CloseMessage('P', "p"), "LOG:  Close message from frontend.\nDETAIL:  portal: \"p\"\n"},
		{ClientMessage('S'), "LOG:  Sync message from frontend.\n"},
		{ClientMessage('~'), "LOG:  Unknown ('~') message from frontend.\n"},
	}
	var b bytes.Buffer
	l := To(&b, Debug5)
	for _, tt := range tests {
		b.Reset()
		l.Log(tt.e)
		if b.String() != tt.want {
			t.Errorf("got  %q\nwant %q", b.String(), tt.want)
		}
	}
}

func TestBackendMessages(t *testing.T) {
	type message struct {
		node int
		kind byte
	}
	rows := []message{{0, 'T'}, {0, 'D'}, {0, 'D'}, {0, 'D'}, {1, 'D'}, {1, 'D'}, {1, 'C'}, {1, 'Z'}, {1, 'Z'}}
	tests := []struct {
		name string
		mode BackendMessageMode
		want string
	}{
		{"none", BackendMessagesNone, ""},
		{"terse", BackendMessagesTerse, "LOG:  RowDescription message from backend 0\n" +
			"LOG:  DataRow message from backend 0\n" +
			"LOG:  last DataRow message from backend 0 repeated 2 times\n" +
			"LOG:  DataRow message from backend 1\n" +
			"LOG:  last DataRow message from backend 1 repeated 1 times\n" +
			"LOG:  CommandComplete message from backend 1\n" +
			"LOG:  ReadyForQuery message from backend 1\n" +
			"LOG:  last ReadyForQuery message from backend 1 repeated 1 times\n"},
		{"verbose", BackendMessagesVerbose, "LOG:  RowDescription message from backend 0\n" +
			"LOG:  DataRow message from backend 0\nLOG:  DataRow message from backend 0\nLOG:  DataRow message from backend 0\n" +
			"LOG:  DataRow message from backend 1\nLOG:  DataRow message from backend 1\n" +
			"LOG:  CommandComplete message from backend 1\n" +
			"LOG:  ReadyForQuery message from backend 1\nLOG:  ReadyForQuery message from backend 1\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			l := To(&b, Log)
			var m BackendMessages
			for _, r := range rows {
				m.Message(l, tt.mode, r.node, r.kind)
			}
			m.Flush(l)
			m.Flush(l)
			if b.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", b.String(), tt.want)
			}
		})
	}
}
