package auth

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// channel says how an exchange with a server is tied to the TLS connection.
type channel uint8

const (
	channelUnbound    channel = iota // no TLS
	channelNotOffered                // we could, the server does not; it notices if somebody between us took the offer away
	channelBound
)

// scramTalk is the client's side of one exchange: the server's messages in, ours out, beginning with the empty one.
type scramTalk interface {
	Step(challenge string) (string, error)
	Valid() bool
}

// scramLogin is a login by SCRAM-SHA-256 or -PLUS, with a password or with the key a client's own exchange has yielded.
type scramLogin struct {
	user      string
	cache     *Cache
	keys      *loginKeys // with a password
	key       *clientKey // without
	talk      scramTalk
	mechanism string
	nonce     string
	first     string // ours
	reply     string // the server's first message
	workErr   error
	step      scramLoginStep
}

type scramLoginStep uint8

const (
	scramSentFirst scramLoginStep = iota
	scramGotFirst
	scramSentFinal
)

func newScramLogin(l *Login, ch channel) (*scramLogin, error) {
	s := &scramLogin{user: l.cred.user, cache: l.cache, mechanism: scramSHA256}
	if ch == channelBound {
		s.mechanism = scramSHA256Plus
	}
	var err error
	if l.cred.clear == "" {
		s.key = l.cred.key
		s.talk = newKeyTalk(s.key, ch, l.binding)
	} else {
		if s.keys, err = l.cache.login(l.cred.clear); err != nil {
			return nil, badServer("keys could not be made")
		}
		s.talk = passwordTalk(s.keys.client, ch, l.binding)
	}
	if s.first, err = s.talk.Step(""); err != nil {
		return nil, badServer("SCRAM could not be started")
	}
	_, s.nonce, _ = strings.Cut(s.first, ",r=")
	return s, nil
}

func passwordTalk(client *scram.Client, ch channel, binding []byte) *scram.ClientConversation {
	switch ch {
	case channelBound:
		return client.NewConversationWithChannelBinding(scram.ChannelBinding{Type: bindingType, Data: binding})
	case channelNotOffered:
		return client.NewConversationAdvertisingChannelBinding()
	case channelUnbound:
	}
	return client.NewConversation()
}

// initialResponse is SASLInitialResponse: mechanism, length of the message, message.
func (s *scramLogin) initialResponse() []byte {
	b := cstring(s.mechanism)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.first)))
	return append(b, s.first...)
}

// serverFirst checks the salt, nonce and iteration count before anything is computed from them.
func (s *scramLogin) serverFirst(message string) (Step, error) {
	if s.step != scramSentFirst {
		return Step{}, badServer("SCRAM message out of turn")
	}
	factors, err := s.checkServerFirst(message)
	if err != nil {
		return Step{}, err
	}
	s.reply, s.step = message, scramGotFirst
	switch {
	case s.key != nil && factors != s.key.verifier.factors():
		return Step{}, otherVerifier(s.user)
	case s.key != nil || s.cache.derived(s.keys, factors):
		return s.clientFinal()
	}
	return Step{Work: func() { s.workErr = s.cache.deriveLogin(s.keys, factors) }}, nil
}

// otherVerifier is a password that was changed where the client was not checked against it.
func otherVerifier(user string) *Error {
	e := serverFailed(backendText(ServerSCRAM), "valid password not found")
	e.LogDetail = `the server's verifier for "` + user + `" differs from the one the client was checked against`
	return e
}

func (s *scramLogin) checkServerFirst(message string) (scram.KeyFactors, error) {
	var none scram.KeyFactors
	first, ok := parseServerFirst(message)
	switch {
	case !ok:
		return none, badServer("malformed SCRAM message")
	case !strings.HasPrefix(first.nonce, s.nonce) || first.nonce == s.nonce:
		return none, badServer("invalid SCRAM nonce of the server")
	case first.iterations < 1 || first.iterations > maxIterations:
		return none, badServer("SCRAM iteration count of the server is out of range: " + strconv.Itoa(first.iterations))
	}
	return scram.KeyFactors{Salt: first.salt, Iters: first.iterations}, nil
}

// serverFirstMessage is r=nonce,s=salt,i=iterations.
type serverFirstMessage struct {
	nonce, salt string
	iterations  int
}

func parseServerFirst(message string) (m serverFirstMessage, ok bool) {
	fields := strings.Split(message, ",")
	if len(message) > maxSASLMessage || len(fields) < 3 {
		return m, false
	}
	nonce, okNonce := strings.CutPrefix(fields[0], "r=")
	salt64, okSalt := strings.CutPrefix(fields[1], "s=")
	count, okCount := strings.CutPrefix(fields[2], "i=")
	salt, okBytes := decode64(salt64)
	iterations, err := strconv.Atoi(count)
	m = serverFirstMessage{nonce: nonce, salt: string(salt), iterations: iterations}
	return m, okNonce && okSalt && okCount && okBytes && len(salt) > 0 && err == nil
}

func (s *scramLogin) clientFinal() (Step, error) {
	if s.step != scramGotFirst || s.workErr != nil {
		return Step{}, badServer("SCRAM keys could not be made")
	}
	reply, err := s.talk.Step(s.reply)
	if err != nil {
		return Step{}, badServer("malformed SCRAM message")
	}
	s.step = scramSentFinal
	return Step{Send: true, Body: []byte(reply)}, nil
}

// serverFinal checks that the server knows the password too.
func (s *scramLogin) serverFinal(message string) error {
	if s.step != scramSentFinal {
		return badServer("SCRAM message out of turn")
	}
	if _, err := s.talk.Step(message); err != nil || !s.talk.Valid() {
		return badServer("invalid SCRAM server signature")
	}
	return nil
}
