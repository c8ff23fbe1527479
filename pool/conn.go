package pool

import (
	"hash/maphash"
	"strings"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/proxy/vsession"
)

// Conn is a logged-in server connection. While leased it belongs to one task; while idle to the pool.
type Conn struct {
	Wire   *loop.Conn
	Key    Key
	PID    uint32 // of the server process
	Secret []byte // its cancel key
	Epoch  cluster.Epoch
	// Params are the settings the server reported, as of now: the session that leases it keeps them current.
	Params []pgwire.Param
	params uint64 // see ParamsVersion
	// Opened is how it was logged in: what a later client has to show to get it.
	Opened auth.Opened
	// Isolation is the default_transaction_isolation a session begins with here.
	Isolation string

	Created   time.Time
	IdleSince time.Time
	Uses      int // leases, this one included

	// State is what is recorded of the connection's session: the lessee keeps it.
	State vsession.Server
	// Serial is another with every lease: with the connection it names one lease, see Ask.Exactly. It is the lessee's to read.
	Serial uint64
	// MustCheck tells the lessee that the connection has idled longer than Bounds.CheckDelay: Bounds.CheckQuery has to be answered without
	// an error before anything of the client's runs on it (send it ahead, in the same write). What fails is to be given to Discard, and
	// another leased.
	MustCheck bool

	home   *loop.Loop       // whose poller knows Wire
	place  *Place           // that counts it
	onIdle func(*loop.Conn) // of the parked Wire
	jitter float64          // see Bounds.endOfLife
	era    uint64           // of the place when it was begun, see Reconnect

	opening    bool  // not logged in so far; the lessee's
	idle       bool  // guarded by Pool.mu
	prev, next *Conn // guarded by Pool.mu, see connList
}

// ParamsKey is the canonical form of startup parameters: two packets with the same options make the same key.
func ParamsKey(params []pgwire.Param) string {
	var b strings.Builder
	for _, p := range params {
		b.WriteString(p.Name)
		b.WriteByte(0)
		b.WriteString(p.Value)
		b.WriteByte(0)
	}
	return b.String()
}

// SetParam records a ParameterStatus.
func (c *Conn) SetParam(name, value string) {
	for i := range c.Params {
		if c.Params[i].Name == name {
			c.params += hashParam(name, value) - hashParam(name, c.Params[i].Value)
			c.Params[i].Value = value
			return
		}
	}
	c.params += hashParam(name, value)
	c.Params = append(c.Params, pgwire.Param{Name: name, Value: value})
}

// ParamsVersion stands for what Params says: connections of the same process that report the same have the same.
func (c *Conn) ParamsVersion() uint64 { return c.params }

var paramSeed = maphash.MakeSeed()

func hashParam(name, value string) uint64 {
	return (maphash.String(paramSeed, name) | 1) * (maphash.String(paramSeed, value) | 1)
}

// Remembered is what a login needs to be answered without a server: the settings servers report for such a session. Server is what was
// asked of it: who could not have answered that is not let in by what another one has learnt.
type Remembered struct {
	Params    []pgwire.Param
	Isolation string
	Server    auth.ServerMethod
}

// maxRemembered bounds the parameter sets kept; beyond it arbitrary ones are forgotten.
const maxRemembered = 10000

// Remember keeps what a server reported at login, for the key whatever its node.
func (p *Pool) Remember(key Key, r *Remembered) {
	key.Node = cluster.NoNode
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxRemembered {
		for k := range p.known {
			delete(p.known, k)
			break
		}
	}
	p.known[key] = r
}

// Recall returns what is remembered for the key, nil if nothing is. The caller must not change it.
func (p *Pool) Recall(key Key) *Remembered {
	key.Node = cluster.NoNode
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[key]
}

// Forget drops what is remembered for the key, so that the next login asks a server.
func (p *Pool) Forget(key Key) {
	key.Node = cluster.NoNode
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, key)
}
