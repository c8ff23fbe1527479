package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"github.com/xdg-go/scram"
)

type scramState uint8

const (
	scramOffered  scramState = iota // mechanisms sent
	scramFirst                      // mechanism chosen, client's first message not here yet
	scramFinal                      // our first message sent
	scramDeriving                   // the client's proof is here; what it is compared with is being made
	scramOver                       // failed
	scramProved
)

// scramAcceptor is the server's side of SCRAM-SHA-256 and -PLUS (RFC 5802, RFC 7677). The user is the one of the
// startup packet; the name inside the exchange is ignored, as PostgreSQL does.
//
// A client that fails has cost one key derivation, whoever it claims to be and whatever the cache holds: the derivation
// comes after the client's proof, and where the outcome is known without it, it is made in vain. A client that succeeds
// costs one only if its password is not in the cache.
type scramAcceptor struct {
	plan    Plan
	party   Party
	job     verifierJob
	stored  scram.StoredCredentials
	ready   bool // stored is what counts, not a stopgap
	workErr error
	nonce   string
	plus    bool // the client chose to bind its channel
	state   scramState
	talk    *scram.ServerConversation
	key     *clientKey

	first, ours, final string // the messages
}

func newScramAcceptor(plan Plan, p Party) *scramAcceptor {
	a := &scramAcceptor{
		plan:  plan,
		party: p,
		job:   p.Cache.verifier(p.User, p.Entry),
		nonce: base64.StdEncoding.EncodeToString(p.Random[:]),
	}
	a.stored, a.ready = a.job.get()
	return a
}

func (a *scramAcceptor) Start() (Step, error) {
	offer := scramSHA256 + "\x00\x00"
	if a.canBind() {
		offer = scramSHA256Plus + "\x00" + offer
	}
	return Step{Send: true, Code: codeSASL, Body: []byte(offer), MaxMessage: maxSASLMessage}, nil
}

func (a *scramAcceptor) canBind() bool { return len(a.party.Binding) > 0 }

func (a *scramAcceptor) Next(body []byte) (Step, error) {
	if len(body) > maxSASLMessage {
		return a.refuse(malformed("message is too long"))
	}
	switch a.state {
	case scramOffered:
		return a.chosen(body)
	case scramFirst:
		return a.clientFirst(string(body))
	case scramFinal:
		return a.clientFinal(string(body))
	case scramDeriving, scramOver, scramProved:
	}
	return Step{}, outOfTurn()
}

func (a *scramAcceptor) refuse(err *Error) (Step, error) {
	a.state = scramOver
	return Step{}, err
}

// chosen takes SASLInitialResponse: mechanism, length, first message (length -1: it comes separately).
func (a *scramAcceptor) chosen(body []byte) (Step, error) {
	end := bytes.IndexByte(body, 0)
	if end < 0 || len(body) < end+5 {
		return a.refuse(malformed("SASL initial response is cut short"))
	}
	mechanism := string(body[:end])
	a.plus = a.canBind() && mechanism == scramSHA256Plus
	if !a.plus && mechanism != scramSHA256 {
		const text = "client selected an invalid SASL authentication mechanism"
		return a.refuse(&Error{ClientMessage: text, SQLSTATE: stateProtocol, LogText: text})
	}
	rest := body[end+5:]
	switch length := int32(binary.BigEndian.Uint32(body[end+1:])); {
	case length == -1 && len(rest) == 0:
		a.state = scramFirst
		return Step{Send: true, Code: codeSASLContinue, MaxMessage: maxSASLMessage}, nil
	case int64(length) != int64(len(rest)):
		return a.refuse(malformed("SASL initial response has a wrong length"))
	}
	return a.clientFirst(string(rest))
}

func (a *scramAcceptor) clientFirst(message string) (Step, error) {
	if err := a.checkClientFirst(message); err != nil {
		return a.refuse(err)
	}
	a.first = message
	reply, err := a.begin()
	if err != nil { // its text quotes the message: not for us to repeat
		return a.refuse(malformed("malformed SCRAM message"))
	}
	a.ours, a.state = reply, scramFinal
	return Step{Send: true, Code: codeSASLContinue, Body: []byte(reply), MaxMessage: maxSASLMessage}, nil
}

// begin starts the conversation with what is stored. It can be done again with the same outcome, but other keys.
func (a *scramAcceptor) begin() (string, error) {
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return a.stored, nil })
	if err != nil {
		return "", err
	}
	server = server.WithNonceGenerator(func() string { return a.nonce })
	if a.canBind() {
		a.talk = server.NewConversationWithChannelBinding(scram.ChannelBinding{Type: bindingType, Data: a.party.Binding})
	} else {
		a.talk = server.NewConversation()
	}
	return a.talk.Step(a.first)
}

// checkClientFirst refuses what the library would let pass, or name less clearly. The flag says whether the client
// binds its channel: n no, y it could but saw no offer, p yes.
func (a *scramAcceptor) checkClientFirst(message string) *Error {
	flag, rest, _ := strings.Cut(message, ",")
	authzid, _, found := strings.Cut(rest, ",")
	kind, binds := strings.CutPrefix(flag, "p=")
	switch {
	case strings.ContainsRune(message, 0):
		return malformed("SCRAM message contains a zero byte")
	case binds && !a.canBind():
		return malformed("client requires SCRAM channel binding, but it is not supported")
	case binds && kind != bindingType:
		return malformed("unsupported SCRAM channel-binding type")
	case binds != a.plus:
		return malformed("SASL mechanism and SCRAM message disagree about channel binding")
	case flag == "y" && a.canBind():
		return bindingFailed("the client supports channel binding and believes that it was not offered, but it was")
	case !found || !binds && flag != "n" && flag != "y":
		return malformed("malformed SCRAM message")
	case authzid != "":
		return malformed("client uses authorization identity, but it is not supported")
	}
	return nil
}

// clientFinal has the client's proof. With a stopgap for the keys the library still checks all but the proof.
func (a *scramAcceptor) clientFinal(message string) (Step, error) {
	reply, err := a.talk.Step(message)
	switch {
	case err != nil && reply == scram.ErrChannelBindingsDontMatch && a.plus:
		return a.refuse(bindingFailed("the client's TLS connection is not this one"))
	case err != nil && reply != scram.ErrInvalidProof:
		return a.refuse(malformed("malformed SCRAM message"))
	case err == nil && a.ready && a.plan.doomed == nil:
		return a.proved(message, reply)
	}
	a.final, a.state = message, scramDeriving
	return Step{Work: a.derive}, nil
}

func (a *scramAcceptor) derive() {
	stored, err := a.job.derive()
	if a.ready || !a.job.usable { // in vain: the proof was wrong, or none can be right
		return
	}
	a.stored, a.workErr = stored, err
}

// Resume compares the proof with keys that were not at hand before.
func (a *scramAcceptor) Resume() (Step, error) {
	if a.state != scramDeriving {
		return Step{}, outOfTurn()
	}
	a.state = scramOver
	if a.plan.doomed != nil {
		return Step{}, a.plan.doomed
	}
	if a.ready || !a.job.usable || a.workErr != nil {
		return Step{}, a.failed()
	}
	if _, err := a.begin(); err != nil {
		return Step{}, a.failed()
	}
	reply, err := a.talk.Step(a.final)
	if err != nil {
		return Step{}, a.failed()
	}
	return a.proved(a.final, reply)
}

// proved ends an exchange whose proof was right, and recovers the client's key where it may be of use.
func (a *scramAcceptor) proved(message, reply string) (Step, error) {
	a.state = scramOver
	if !a.talk.Valid() || !a.job.usable {
		return Step{}, a.failed()
	}
	if v := a.party.Entry.verifier; v.usable() {
		a.key = a.keyIn(message, v)
	}
	a.state = scramProved
	return Step{Send: true, Code: codeSASLFinal, Body: []byte(reply), Done: true}, nil
}

// keyIn is the client's key, out of its last message.
func (a *scramAcceptor) keyIn(final string, v verifier) *clientKey {
	at := strings.LastIndex(final, ",p=")
	_, bare, _ := strings.Cut(a.first, ",")
	_, bare, _ = strings.Cut(bare, ",")
	if at < 0 {
		return nil
	}
	proof, err := base64.StdEncoding.DecodeString(final[at+len(",p="):])
	key, ok := v.clientKey(proof, bare+","+a.ours+","+final[:at])
	if err != nil || !ok {
		return nil
	}
	return key
}

func (a *scramAcceptor) failed() *Error {
	return passwordFailed(a.party.User, "authentication failed", `username "`+a.party.User+`" or password does not exist in backend`)
}

func (a *scramAcceptor) Identity() Identity {
	if a.state != scramProved {
		return Identity{}
	}
	return Identity{By: ByEntry, key: a.key}
}
