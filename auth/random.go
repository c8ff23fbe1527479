package auth

import "crypto/rand"

// Random is the unpredictable part of one exchange: SCRAM's nonce, md5's salt, the salt of a [Proof]. Every exchange
// needs its own.
type Random [24]byte

// NewRandom draws from the operating system.
func NewRandom() Random {
	var r Random
	_, _ = rand.Read(r[:]) // never fails: the runtime ends the process instead
	return r
}

func (Random) String() string { return "(random)" }
