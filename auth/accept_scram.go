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
	scramDeriving                   // verifier is being made
	scramFinal                      // our first message sent
	scramOver
)

// scramAcceptor is the server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677). The user is the one of the startup packet;
// the name inside the exchange is ignored, as PostgreSQL does.
type scramAcceptor struct {
	plan     Plan
	user     string
	known    bool
	job      verifierJob
	verifier scram.StoredCredentials
	workErr  error
	nonce    string
	first    string
	state    scramState
	talk     *scram.ServerConversation
}

func newScramAcceptor(plan Plan, p Party) *scramAcceptor {
	password, known := p.Entry.Clear()
	return &scramAcceptor{
		plan:  plan,
		user:  p.User,
		known: known,
		job:   p.Cache.verifier(p.User, password, known),
		nonce: base64.StdEncoding.EncodeToString(p.Random[:]),
	}
}

func (a *scramAcceptor) Start() (Step, error) {
	return Step{Send: true, Code: codeSASL, Body: []byte(scramSHA256 + "\x00\x00"), MaxMessage: maxSASLMessage}, nil
}

func (a *scramAcceptor) Next(body []byte) (Step, error) {
	if len(body) > maxSASLMessage {
		return Step{}, malformed("message is too long")
	}
	switch a.state {
	case scramOffered:
		return a.chosen(body)
	case scramFirst:
		return a.clientFirst(string(body))
	case scramFinal:
		return a.clientFinal(string(body))
	case scramDeriving, scramOver:
	}
	return Step{}, outOfTurn()
}

// chosen takes SASLInitialResponse: mechanism, length, first message (length -1: it comes separately).
func (a *scramAcceptor) chosen(body []byte) (Step, error) {
	end := bytes.IndexByte(body, 0)
	if end < 0 || len(body) < end+5 {
		return Step{}, malformed("SASL initial response is cut short")
	}
	if string(body[:end]) != scramSHA256 {
		const text = "client selected an invalid SASL authentication mechanism"
		return Step{}, &Error{ClientMessage: text, SQLSTATE: stateProtocol, LogText: text}
	}
	rest := body[end+5:]
	switch length := int32(binary.BigEndian.Uint32(body[end+1:])); {
	case length == -1 && len(rest) == 0:
		a.state = scramFirst
		return Step{Send: true, Code: codeSASLContinue, MaxMessage: maxSASLMessage}, nil
	case int64(length) != int64(len(rest)):
		return Step{}, malformed("SASL initial response has a wrong length")
	}
	return a.clientFirst(string(rest))
}

func (a *scramAcceptor) clientFirst(message string) (Step, error) {
	if err := checkClientFirst(message); err != nil {
		return Step{}, err
	}
	a.first, a.state = message, scramDeriving
	if verifier, ok := a.job.get(); ok {
		a.verifier = verifier
		return a.Resume()
	}
	return Step{Work: func() { a.verifier, a.workErr = a.job.derive() }}, nil
}

// checkClientFirst refuses what the library would let pass, or name less clearly.
func checkClientFirst(message string) *Error {
	flag, rest, _ := strings.Cut(message, ",")
	authzid, _, found := strings.Cut(rest, ",")
	switch {
	case strings.ContainsRune(message, 0):
		return malformed("SCRAM message contains a zero byte")
	case strings.HasPrefix(flag, "p="):
		return malformed("client requires SCRAM channel binding, but it is not supported")
	case !found || flag != "n" && flag != "y": // y: the client could bind, and saw rightly that we do not offer it
		return malformed("malformed SCRAM message")
	case authzid != "":
		return malformed("client uses authorization identity, but it is not supported")
	}
	return nil
}

// Resume sends our first message once the verifier is there.
func (a *scramAcceptor) Resume() (Step, error) {
	if a.state != scramDeriving || a.verifier.StoredKey == nil {
		a.state = scramOver
		return Step{}, a.failed("verifier could not be made")
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return a.verifier, nil })
	if err != nil {
		return Step{}, a.failed("verifier could not be made")
	}
	a.talk = server.WithNonceGenerator(func() string { return a.nonce }).NewConversation()
	reply, err := a.talk.Step(a.first)
	if err != nil { // its text quotes the message: not for us to repeat
		a.state = scramOver
		return Step{}, malformed("malformed SCRAM message")
	}
	a.state = scramFinal
	return Step{Send: true, Code: codeSASLContinue, Body: []byte(reply), MaxMessage: maxSASLMessage}, nil
}

func (a *scramAcceptor) clientFinal(message string) (Step, error) {
	a.state = scramOver
	reply, err := a.talk.Step(message)
	if err != nil && reply != scram.ErrInvalidProof {
		return Step{}, malformed("malformed SCRAM message")
	}
	if a.plan.doomed != nil {
		return Step{}, a.plan.doomed
	}
	if err != nil || !a.talk.Valid() || !a.known {
		return Step{}, a.failed(`username "` + a.user + `" or password does not exist in backend`)
	}
	return Step{Send: true, Code: codeSASLFinal, Body: []byte(reply), Done: true}, nil
}

func (a *scramAcceptor) failed(detail string) *Error {
	return passwordFailed(a.user, "authentication failed", detail)
}

func (a *scramAcceptor) Identity() Identity { return Identity{By: ByEntry} }
