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

	sequences   bool      // what nextval has left here, if anything, is this session's
	unsure      bool      // of sequences: nobody has looked after whose values they are
	probe       bool      // something may have ended what holds tells: worth while to ask
	probing     *probed   // the question under way
	holds       holding   // state that would be lost with the connection
	unnamed     *prepared // the session's unnamed statement if the server has it, and which version of it; nil: it may have any
	unnamedVer  uint64
	unnamedForm uint64  // of its rows; 0: not known
	owner       uint64  // the session, if it shares its connections; 0: it does not
	lastText    []byte  // of the last statement sent, cut, for SHOW pool_pools
	ending      bool    // the end of the transaction is on its way
	planned     bool    // it was cut by a planned switchover
	warned      bool    // the server process has warned that it ends, without an error
	standby     bool    // when it was leased another node was the primary: nothing can be written here
	wrote       bool    // something that may have written was sent since the server was last outside a transaction
	counted     holding // pins that were counted
	lasting     bool    // the extended batch under way here may have taken effect before its Sync: it holds a COMMIT or the like
}

// expect is one message whose answer is outstanding.
type expect struct {
	kind    byte // the message's type: Q, P, B, D, E, C, S, F; 'd' is Describe of a portal
	swallow bool // the client did not send it: its answers are dropped
	prelude bool // it brings the server up to the session's state: a failure spoils what follows
	begins  bool // a prelude that is the BEGIN of the client's block
	failed  bool
	copied  bool // an Execute whose CopyData has been sent in full
	writes  bool // Decision.Writes
	facts   *stmt.Facts
	prep    *prepared
	note    *note
	collect *collector
	mark    int         // how many changes of names there were before the message, see statements.go
	asksID  bool        // the question for the id of the transaction whose COMMIT follows
	asked   bool        // a COMMIT behind that question
	told    bool        // a simple query with a CommandComplete that was received
	muted   bool        // the client was told of its failure before it was run: it hears of nothing but ReadyForQuery
	own     bool        // prep gets the client's name though it has one of ours
	closes  uint64      // the shared statement that a Close of ours is about
	closed  *closedName // or the name
	answer  []byte      // an answer of ours: in its turn, or instead of the server's error
	sent    instant     // of a statement whose time is taken; 0: it is not
}

// lastTextMax bounds what SHOW pool_pools shows of a statement.
const lastTextMax = 1024

func (b *backend) outstanding() int { return len(b.queue) - b.head }

// busy reports whether something runs there, or the open transaction has been there.
func (b *backend) busy() bool { return b.outstanding() > 0 || b.mark.Joined() || b.unsynced }

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

// shell is memory of a lease that is over, for the next one on the same loop.
type shell struct {
	queue []expect
	text  []byte
	out   []byte
}

// maxShells bounds those kept by a loop, shellQueue and shellOut what each is worth keeping.
const (
	maxShells  = 64
	shellQueue = 64
	shellOut   = 4 << 10
)

// dress gives a new lease memory of an older one.
func (h *home) dress(b *backend) {
	if n := len(h.shells); n > 0 {
		sh := &h.shells[n-1]
		b.queue, b.lastText, b.out = sh.queue, sh.text, sh.out
		*sh = shell{}
		h.shells = h.shells[:n-1]
	}
}

// undress keeps the memory of a lease that is over, with nothing outstanding.
func (h *home) undress(b *backend) {
	if len(h.shells) < maxShells && cap(b.queue) <= shellQueue && cap(b.out) <= shellOut {
		h.shells = append(h.shells, shell{b.queue[:0], b.lastText[:0], b.out[:0]})
	}
	b.queue, b.lastText, b.out, b.head, b.o = nil, nil, nil, 0, 0
}

// truncate forgets what is outstanding.
func (b *backend) truncate() {
	clear(b.queue[b.head:])
	b.queue, b.head = b.queue[:0], 0
}

// readyForUs reports whether the next ReadyForQuery answers something that the client has not sent.
func (b *backend) readyForUs() bool {
	for i := b.head; i < len(b.queue); i++ {
		switch e := &b.queue[i]; e.kind {
		case pgwire.Query, pgwire.Sync, pgwire.FunctionCall:
			return e.swallow
		}
	}
	return false
}

// waitsForUs reports whether the next answer is one of ours.
func (b *backend) waitsForUs() bool {
	return b.head < len(b.queue) && b.queue[b.head].kind == ownAnswer
}

// drops reports whether the message, also if it fails, leaves no unnamed statement.
func (e *expect) drops() bool {
	return e.kind == pgwire.Parse && !e.swallow && e.prep != nil && e.prep.name == ""
}

// remember keeps the beginning of a statement for SHOW.
func (b *backend) remember(text []byte) {
	b.lastText = append(b.lastText[:0], text[:min(len(text), lastTextMax)]...)
}
