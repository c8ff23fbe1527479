package auth

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strings"
)

// keyTalk is the client's side of SCRAM-SHA-256 with the client's key instead of its password, which the library does
// not have. The caller has checked the server's first message: its nonce extends ours, salt and iterations are those of
// the key's verifier.
type keyTalk struct {
	key     *clientKey
	header  string // GS2: how the channel is bound
	binding []byte // what the header promises, nil without a promise
	user    string // a server of PostgreSQL's ignores it
	nonce   string

	sent      int
	bare      string // our first message without the header
	signature []byte // what the server has to answer
	valid     bool
}

func newKeyTalk(key *clientKey, ch channel, binding []byte) *keyTalk {
	random := NewRandom()
	k := &keyTalk{key: key, header: "n,,", nonce: base64.StdEncoding.EncodeToString(random[:])}
	switch ch {
	case channelBound:
		k.header, k.binding = "p="+bindingType+",,", binding
	case channelNotOffered:
		k.header = "y,,"
	case channelUnbound:
	}
	return k
}

var errKeyTalk = errors.New("SCRAM exchange cannot go on")

// Step gives our next message.
func (k *keyTalk) Step(challenge string) (string, error) {
	k.sent++
	switch k.sent {
	case 1:
		k.bare = "n=" + k.user + ",r=" + k.nonce
		return k.header + k.bare, nil
	case 2:
		return k.final(challenge)
	case 3:
		return "", k.verify(challenge)
	}
	return "", errKeyTalk
}

func (k *keyTalk) final(challenge string) (string, error) {
	first, ok := parseServerFirst(challenge)
	if !ok {
		return "", errKeyTalk
	}
	bound := base64.StdEncoding.EncodeToString(append([]byte(k.header), k.binding...))
	message := "c=" + bound + ",r=" + first.nonce
	proof, signature := k.key.proof(k.bare + "," + challenge + "," + message)
	k.signature = signature
	return message + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify takes the server's signature, or its word that it gives none.
func (k *keyTalk) verify(challenge string) error {
	field, _, _ := strings.Cut(challenge, ",")
	text, ok := strings.CutPrefix(field, "v=")
	signature, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || k.signature == nil || subtle.ConstantTimeCompare(signature, k.signature) != 1 {
		return errKeyTalk
	}
	k.valid = true
	return nil
}

// Valid reports whether the server has shown that it has the verifier.
func (k *keyTalk) Valid() bool { return k.valid }
