package auth

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
)

// The codes of authentication messages ('R').
const (
	codeOK           int32 = 0
	codeCleartext    int32 = 3
	codeMD5          int32 = 5
	codeSASL         int32 = 10
	codeSASLContinue int32 = 11
	codeSASLFinal    int32 = 12
)

// Bounds on the body of a client's 'p' message.
const (
	maxPasswordMessage = 65535
	maxSASLMessage     = 1024
)

// Step is what an exchange wants next.
//
//   - Work non-nil: run it (it is expensive or blocks in [Party].Check, is safe on any goroutine, and touches nothing but
//     the exchange and its [Cache]), then call Resume. Nothing else in the Step is set.
//   - Send true: send Body, for an [Acceptor] as an authentication message with Code, for a [Login] as a 'p' message.
//   - Done true: the exchange has succeeded (after sending, if Send is set). An Acceptor leaves AuthenticationOk to
//     the caller. Otherwise read the peer's answer and call Next.
//
// MaxMessage is the longest body, in bytes, worth reading for the client's answer; refuse longer ones unread.
type Step struct {
	Work       func()
	Send       bool
	Code       int32
	Body       []byte
	Done       bool
	MaxMessage int
}

// Acceptor is one exchange with one client. It is used by one goroutine at a time and not again after an error or
// Done. Errors are *[Error]: the login has failed. Bodies given to Next are not kept.
type Acceptor interface {
	// Start gives the first message.
	Start() (Step, error)
	// Next takes the body of the client's 'p' message.
	Next(body []byte) (Step, error)
	// Resume follows a Step with Work.
	Resume() (Step, error)
	// Identity tells what has been shown; nothing before Done.
	Identity() Identity
}

// Party is the client's side of an exchange, and what the exchange needs of the process.
type Party struct {
	User string

	// Entry is the user's entry, of whatever kind; an exchange that cannot succeed with it still runs, and ends like one
	// with a wrong password.
	Entry Entry

	// Cache is the process's; Random is for this exchange alone.
	Cache  *Cache
	Random Random

	// Binding is the tls-server-end-point data of the client's TLS connection, nil without one: SCRAM-SHA-256-PLUS is
	// offered if it is there.
	Binding []byte

	// Check asks LDAP or PAM, where the plan's judge is outside. It may block, and is called on no loop. Its error is the
	// refusal: an *[Error] is used as it is, any other is the log's.
	Check func(password string) error
}

// NewAcceptor carries out a plan with a client. It is nil where the plan asks nothing; then the client's identity is
// plan.Unasked.
func NewAcceptor(plan Plan, p Party) Acceptor {
	switch plan.Ask {
	case AskCleartext:
		return &cleartextAcceptor{plan: plan, party: p}
	case AskMD5:
		return &md5Acceptor{plan: plan, user: p.User, entry: p.Entry, salt: [4]byte(p.Random[:4])}
	case AskSCRAM:
		return newScramAcceptor(plan, p)
	case AskNothing:
	}
	return nil
}

// exchangeState is how far an exchange of one question has come.
type exchangeState uint8

const (
	exchangeAsked   exchangeState = iota
	exchangeJudging               // off the loop
	exchangeOver                  // failed
	exchangeDone
)

// md5Acceptor asks for the MD5 of the stored hash and a salt.
type md5Acceptor struct {
	plan  Plan
	user  string
	entry Entry
	salt  [4]byte
	state exchangeState
}

func (a *md5Acceptor) Start() (Step, error) {
	return Step{Send: true, Code: codeMD5, Body: a.salt[:], MaxMessage: maxSASLMessage}, nil
}

func (a *md5Acceptor) Next(body []byte) (Step, error) {
	if a.state != exchangeAsked {
		return Step{}, outOfTurn()
	}
	a.state = exchangeOver
	answer, err := passwordIn(body, maxSASLMessage)
	if err != nil {
		return Step{}, err
	}
	hash, known := a.entry.md5(a.user)
	if !known {
		hash = MD5Hash("", a.user)
	}
	matches := equal(answer, md5Response(hash, a.salt[:]))
	if a.plan.doomed != nil {
		return Step{}, a.plan.doomed
	}
	if !matches || !known {
		return Step{}, passwordFailed(a.user, "md5 authentication failed", mismatch)
	}
	a.state = exchangeDone
	return Step{Done: true}, nil
}

func (a *md5Acceptor) Resume() (Step, error) { return Step{}, outOfTurn() }

func (a *md5Acceptor) Identity() Identity {
	if a.state != exchangeDone {
		return Identity{}
	}
	return Identity{By: ByEntry}
}

const mismatch = "password does not match"

// passwordIn takes the string out of a PasswordMessage: NUL at its end and nowhere else.
func passwordIn(body []byte, limit int) (string, error) {
	if len(body) > limit {
		return "", malformed("message is too long")
	}
	end := bytes.IndexByte(body, 0)
	if end < 0 || end != len(body)-1 {
		return "", malformed("invalid password packet size")
	}
	return string(body[:end]), nil
}

// equal compares in constant time, also where lengths differ.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func outOfTurn() *Error { return malformed("message out of turn") }
