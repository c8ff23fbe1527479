package auth

import (
	"crypto/md5"
	"encoding/hex"
	"strings"
)

// EntryKind is the form of a pool_passwd entry.
type EntryKind uint8

// The forms of the manual.
const (
	EntryNone EntryKind = iota
	EntryPlain
	EntryAES
	EntryMD5
	EntrySCRAM
)

func (k EntryKind) String() string {
	switch k {
	case EntryNone:
		return "none"
	case EntryPlain:
		return "plain"
	case EntryAES:
		return "AES"
	case EntryMD5:
		return "md5"
	case EntrySCRAM:
		return "SCRAM"
	}
	return "none"
}

// Entry is what pool_passwd says about one user; the zero value says nothing. It prints as its kind, never as its
// content.
type Entry struct {
	kind   EntryKind
	clear  string // plain and AES
	hash   string // md5: "md5" and 32 hexadecimal digits
	broken bool   // AES that could not be decrypted

	verifier verifier // SCRAM, if it could be read
}

// ParseEntry types a password field after its prefix: the part behind the colon in pool_passwd, or the value of a
// parameter such as sr_check_password. AES entries are decrypted with key. What begins like a SCRAM verifier of
// PostgreSQL and is none serves for nothing, nor does one with more iterations than we would ever compute.
func ParseEntry(field string, key Key) Entry {
	if text, ok := strings.CutPrefix(field, "TEXT"); ok {
		return Entry{kind: EntryPlain, clear: text}
	}
	if text, ok := strings.CutPrefix(field, "AES"); ok {
		clear, err := key.Decrypt(text)
		return Entry{kind: EntryAES, clear: clear, broken: err != nil}
	}
	if strings.HasPrefix(field, "md5") && len(field) == md5Length {
		return Entry{kind: EntryMD5, hash: field}
	}
	if strings.HasPrefix(field, verifierPrefix) {
		v, _ := parseVerifier(field)
		return Entry{kind: EntrySCRAM, verifier: v}
	}
	return Entry{kind: EntryPlain, clear: field}
}

// Kind is the form of the entry.
func (e Entry) Kind() EntryKind { return e.kind }

// Present reports whether there is an entry at all, usable or not.
func (e Entry) Present() bool { return e.kind != EntryNone }

// Clear is the password in clear, if the entry knows it. An empty password is none: a server accepts none either.
func (e Entry) Clear() (string, bool) { return e.clear, e.clear != "" && !e.broken }

// Undecryptable reports an AES entry whose key is missing or wrong.
func (e Entry) Undecryptable() bool { return e.broken }

// CanCleartext reports whether a password sent in clear can be compared with the entry.
func (e Entry) CanCleartext() bool { return e.CanMD5() || e.CanSCRAM() }

// CanMD5 reports whether the entry serves for md5, towards clients and servers.
func (e Entry) CanMD5() bool {
	_, ok := e.Clear()
	return ok || e.kind == EntryMD5
}

// CanSCRAM reports whether a client can be checked by SCRAM-SHA-256. Towards servers a verifier does not serve by itself,
// but the key that such a check yields does.
func (e Entry) CanSCRAM() bool {
	_, ok := e.Clear()
	return ok || e.verifier.usable()
}

// Serves reports whether the entry alone answers what a server asks.
func (e Entry) Serves(m ServerMethod) bool {
	switch m {
	case ServerCert, ServerTrust:
		return true
	case ServerPassword, ServerSCRAM:
		_, ok := e.Clear()
		return ok
	case ServerMD5:
		return e.CanMD5()
	case Unasked:
	}
	return false
}

// md5 is the user's hash as in pg_authid.
func (e Entry) md5(user string) (string, bool) {
	if e.kind == EntryMD5 {
		return e.hash, true
	}
	clear, ok := e.Clear()
	if !ok {
		return "", false
	}
	return MD5Hash(clear, user), true
}

func (e Entry) String() string { return e.kind.String() + " entry" }

// GoString keeps the password out of %#v.
func (e Entry) GoString() string { return "auth.Entry(" + e.kind.String() + ")" }

const md5Length = len("md5") + 2*md5.Size

// MD5Hash is a user's password as PostgreSQL and pg_md5 -m store it: "md5" and the hexadecimal MD5 of the password
// followed by the name.
func MD5Hash(password, user string) string {
	sum := md5.Sum([]byte(password + user))
	return "md5" + hex.EncodeToString(sum[:])
}

// md5Response is the answer to a challenge by whoever has the stored hash.
func md5Response(hash string, salt []byte) string {
	h := md5.New()
	h.Write([]byte(hash[len("md5"):]))
	h.Write(salt)
	return "md5" + hex.EncodeToString(h.Sum(nil))
}
