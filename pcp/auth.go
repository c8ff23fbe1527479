package pcp

import (
	"crypto/md5"
	"encoding/hex"
)

// MaxUser is the greatest length of a user name in bytes.
const MaxUser = 127

// StoredDigest is how pcp.conf holds a password: md5 in lower-case hexadecimal (manual: pcp.conf; pg_md5 makes it).
func StoredDigest(password string) string { return md5hex(password) }

// Digest is the answer to a salt: what a client sends that knows the stored digest of its user.
func Digest(stored, user string, salt [SaltSize]byte) string {
	return md5hex(md5hex(stored+user) + string(salt[:]))
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
