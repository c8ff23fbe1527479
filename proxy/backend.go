package proxy

import (
	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// backend is a server connection leased by a session: its socket, how far it has followed the session's state, and what
// it still has to answer.
type backend struct {
	side
	node cluster.NodeID
	c    *pool.Conn
	mark vsession.Mark

	queue []expect // what was sent and not answered yet, in order; queue[:head] is over
	head  int
	drop  bool // the rest of the frame in skip is not for the client

	status   byte // of the last ReadyForQuery: 'I', 'T' or 'E'
	unsynced bool // extended messages were sent since the last Sync
	dirty    bool // a statement ran since the lease began: reset before it is released
	broken   bool // must not go back to the pool
	dropped  bool // closed, and no longer the session's
	spent    bool // the first ReadyForQuery from now on ends its use: a prelude failed

	unnamed    *prepared // what the server's unnamed statement holds, and which version of it
	unnamedVer uint64
	lastText   []byte // of the last statement sent, cut, for SHOW pool_pools
	ending     bool   // the end of the transaction is on its way
}

// expect is one message whose answer is outstanding.
type expect struct {
	kind    byte // the message's type: Q, P, B, D, E, C, S, F; 'd' is Describe of a portal
	swallow bool // the client did not send it: its answers are dropped
	prelude bool // it brings the server up to the session's state: a failure spoils what follows
	failed  bool
	copied  bool // an Execute whose CopyData has been sent in full
	writes  bool // Decision.Writes
	facts   *stmt.Facts
	prep    *prepared
	note    *note
	collect *collector
}

// note is what a statement that changes the session does when it succeeds; most statements have none.
type note struct {
	journal *vsession.Statement // to be recorded
	end     txEnd               // how the transaction ends
	begin   string              // the text of a BEGIN that was sent
	prepare *prepared           // SQL PREPARE
	dealloc *string             // SQL DEALLOCATE; "" is ALL
	release func()              // to be called when the answer is complete, whatever it is
}

// txEnd is what COMMIT, ROLLBACK and PREPARE TRANSACTION do.
type txEnd uint8

const (
	endNone txEnd = iota
	endCommit
	endRollback
)

// lastTextMax bounds what SHOW pool_pools shows of a statement.
const lastTextMax = 1024

func (b *backend) outstanding() int { return len(b.queue) - b.head }

func (b *backend) front() *expect {
	if b.head == len(b.queue) {
		return nil
	}
	return &b.queue[b.head]
}

func (b *backend) push(e expect) {
	if b.head == len(b.queue) && b.head > 0 {
		b.queue, b.head = b.queue[:0], 0
	}
	b.queue = append(b.queue, e)
}

func (b *backend) pop() {
	b.queue[b.head] = expect{}
	b.head++
	if b.head == len(b.queue) {
		b.queue, b.head = b.queue[:0], 0
	}
}

// remember keeps the beginning of a statement for SHOW.
func (b *backend) remember(text []byte) {
	b.lastText = append(b.lastText[:0], text[:min(len(text), lastTextMax)]...)
}

// prepared is a prepared statement of the client, by Parse or by SQL PREPARE.
type prepared struct {
	name         string
	frame        []byte // the Parse message, or a Query message with the PREPARE; nil if too large to be kept
	text         []byte // the statement's text, inside frame
	facts        *stmt.Facts
	bySQL        bool
	local        bool           // answered by the proxy until it is executed: transaction control, SHOW pool_*
	ver          uint64         // of the unnamed statement: rises with each Parse
	node         cluster.NodeID // where it was prepared first
	at           []*backend     // servers that have it, for a named one
	batch        uint64         // in which it was parsed, and
	stateVer     uint64         // session.stateVer then
	writes, both bool           // of the decision at Parse, made under the View of
	epoch        cluster.Generation
	lost         bool // its frame was not kept: it lives on node only
}

// runs are the facts of what executing it runs: of a PREPARE the statement inside.
func (p *prepared) runs() *stmt.Facts {
	if p.bySQL && p.facts.Inner != nil {
		return p.facts.Inner
	}
	return p.facts
}

// sql is the statement's text, or that of the PREPARE.
func (p *prepared) sql() string {
	if p.bySQL && len(p.frame) > pgwire.HeaderSize {
		return string(p.frame[pgwire.HeaderSize : len(p.frame)-1])
	}
	return string(p.text)
}

// on reports whether the server has the statement.
func (p *prepared) on(b *backend) bool {
	if p.name == "" {
		return b.unnamed == p && b.unnamedVer == p.ver
	}
	for _, x := range p.at {
		if x == b {
			return true
		}
	}
	return false
}

// placed records that the server has been told of it.
func (p *prepared) placed(b *backend) {
	if p.name == "" {
		b.unnamed, b.unnamedVer = p, p.ver
		return
	}
	if !p.on(b) {
		p.at = append(p.at, b)
	}
}

// gone records that the server does not have it after all, or any more.
func (p *prepared) gone(b *backend) {
	if b.unnamed == p {
		b.unnamed = nil
	}
	for i, x := range p.at {
		if x == b {
			p.at = append(p.at[:i], p.at[i+1:]...)
			return
		}
	}
}
