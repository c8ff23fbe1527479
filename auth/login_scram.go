package auth

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// maxServerIterations bounds the work a server can make us do: about a quarter of a second.
const maxServerIterations = 1_000_000

// scramLogin is the client's side of SCRAM-SHA-256.
type scramLogin struct {
	cache   *Cache
	keys    *loginKeys
	talk    *scram.ClientConversation
	nonce   string
	first   string // ours
	reply   string // the server's first message
	workErr error
	step    scramLoginStep
}

type scramLoginStep uint8

const (
	scramSentFirst scramLoginStep = iota
	scramGotFirst
	scramSentFinal
)

func newScramLogin(cache *Cache, password string) (*scramLogin, error) {
	keys, err := cache.login(password)
	if err != nil {
		return nil, badServer("keys could not be made")
	}
	s := &scramLogin{cache: cache, keys: keys, talk: keys.client.NewConversation()}
	if s.first, err = s.talk.Step(""); err != nil {
		return nil, badServer("SCRAM could not be started")
	}
	_, s.nonce, _ = strings.Cut(s.first, ",r=")
	return s, nil
}

// initialResponse is SASLInitialResponse: mechanism, length of the message, message.
func (s *scramLogin) initialResponse() []byte {
	b := cstring(scramSHA256)
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
	if s.cache.derived(s.keys, factors) {
		return s.clientFinal()
	}
	return Step{Work: func() { s.workErr = s.cache.deriveLogin(s.keys, factors) }}, nil
}

func (s *scramLogin) checkServerFirst(message string) (scram.KeyFactors, error) {
	var none scram.KeyFactors
	fields := strings.Split(message, ",")
	if len(message) > maxSASLMessage || len(fields) < 3 {
		return none, badServer("malformed SCRAM message")
	}
	nonce, okNonce := strings.CutPrefix(fields[0], "r=")
	salt64, okSalt := strings.CutPrefix(fields[1], "s=")
	count, okCount := strings.CutPrefix(fields[2], "i=")
	salt, errSalt := base64.StdEncoding.DecodeString(salt64)
	iterations, errCount := strconv.Atoi(count)
	switch {
	case !okNonce || !okSalt || !okCount || errSalt != nil || len(salt) == 0 || errCount != nil:
		return none, badServer("malformed SCRAM message")
	case !strings.HasPrefix(nonce, s.nonce) || nonce == s.nonce:
		return none, badServer("invalid SCRAM nonce of the server")
	case iterations < 1 || iterations > maxServerIterations:
		return none, badServer("SCRAM iteration count of the server is out of range: " + strconv.Itoa(iterations))
	}
	return scram.KeyFactors{Salt: string(salt), Iters: iterations}, nil
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
