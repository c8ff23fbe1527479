package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// SASL mechanisms, PLUS with the channel bound.
const (
	scramSHA256     = "SCRAM-SHA-256"
	scramSHA256Plus = "SCRAM-SHA-256-PLUS"
)

// bindingType is the one channel binding we speak, as PostgreSQL: a hash of the server's certificate (RFC 5929).
const bindingType = "tls-server-end-point"

// maxIterations bounds the work a server or an entry can make us do: about a quarter of a second.
const maxIterations = 1_000_000

// maxSalt bounds a verifier's salt, in bytes; PostgreSQL's have 16.
const maxSalt = 256

// verifierPrefix begins a password that PostgreSQL has stored for SCRAM-SHA-256.
const verifierPrefix = scramSHA256 + "$"

// verifier is what PostgreSQL keeps of a password for SCRAM-SHA-256; the zero value is none.
type verifier struct {
	iterations     int
	salt           string // bytes
	stored, server [sha256.Size]byte
}

// parseVerifier reads SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey, and nothing that only resembles it.
func parseVerifier(field string) (verifier, bool) {
	text, ok := strings.CutPrefix(field, verifierPrefix)
	factors, keys, okKeys := strings.Cut(text, "$")
	count, salt64, okSalt := strings.Cut(factors, ":")
	stored64, server64, okServer := strings.Cut(keys, ":")
	if !ok || !okKeys || !okSalt || !okServer {
		return verifier{}, false
	}
	iterations, err := strconv.Atoi(count)
	if err != nil || iterations < 1 || iterations > maxIterations || strconv.Itoa(iterations) != count {
		return verifier{}, false
	}
	salt, okSalt := decode64(salt64)
	stored, okStored := decode64(stored64)
	server, okServer := decode64(server64)
	if !okSalt || len(salt) == 0 || len(salt) > maxSalt ||
		!okStored || len(stored) != sha256.Size || !okServer || len(server) != sha256.Size {
		return verifier{}, false
	}
	v := verifier{iterations: iterations, salt: string(salt)}
	copy(v.stored[:], stored)
	copy(v.server[:], server)
	return v, true
}

// decode64 takes the one base64 text of some bytes, not those that mean the same.
func decode64(text string) ([]byte, bool) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	return b, err == nil && base64.StdEncoding.EncodedLen(len(b)) == len(text)
}

func (v verifier) usable() bool { return v.iterations > 0 }

func (v verifier) factors() scram.KeyFactors {
	return scram.KeyFactors{Salt: v.salt, Iters: v.iterations}
}

// credentials is the verifier in the library's form.
func (v verifier) credentials() scram.StoredCredentials {
	return scram.StoredCredentials{KeyFactors: v.factors(), StoredKey: v.stored[:], ServerKey: v.server[:]}
}

// clientKey is recovered from a proof that was right: the proof is the key, masked with what whoever has the verifier
// can compute.
func (v verifier) clientKey(proof []byte, authMessage string) (*clientKey, bool) {
	mask := hmacSHA256(v.stored[:], authMessage)
	if len(proof) != len(mask) {
		return nil, false
	}
	k := &clientKey{verifier: v}
	subtle.XORBytes(k.key[:], proof, mask)
	sum := sha256.Sum256(k.key[:])
	return k, subtle.ConstantTimeCompare(sum[:], v.stored[:]) == 1
}

// clientKey is as good as the password for a login by SCRAM to a server that has the same verifier, and for no other.
type clientKey struct {
	verifier verifier
	key      [sha256.Size]byte
}

// proof is the client's proof of an exchange; signature is what the server has to answer.
func (k *clientKey) proof(authMessage string) (proof, signature []byte) {
	proof = hmacSHA256(k.verifier.stored[:], authMessage)
	subtle.XORBytes(proof, proof, k.key[:])
	return proof, hmacSHA256(k.verifier.server[:], authMessage)
}

func hmacSHA256(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
