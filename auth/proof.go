package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
)

// Proof is kept with a server connection that was opened with a password a client sent: a salted hash of it, so that
// a later client can show that it knows the same one. It lives in memory only. The zero value matches nothing.
type Proof struct {
	salt Random
	sum  [sha256.Size]byte
	set  bool
}

// NewProof remembers a password.
func NewProof(password string, salt Random) Proof {
	return Proof{salt: salt, sum: proofSum(password, salt), set: true}
}

// Matches compares in constant time.
func (p Proof) Matches(password string) bool {
	sum := proofSum(password, p.salt)
	return subtle.ConstantTimeCompare(sum[:], p.sum[:]) == 1 && p.set
}

func (Proof) String() string { return "(proof)" }

// GoString keeps the hash out of %#v.
func (Proof) GoString() string { return "auth.Proof" }

func proofSum(password string, salt Random) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, salt[:])
	h.Write([]byte(password))
	h.Sum(sum[:0])
	return sum
}
