package auth

import "strings"

// QueriedEntry types a password that auth_query returned: md5 and SCRAM verifiers as PostgreSQL stores them, anything else is the
// password itself. The prefixes AES and TEXT of pool_passwd mean nothing here. What begins like a verifier of PostgreSQL but is none
// we know gives the zero Entry: taken for a password it would let in whoever has seen it.
func QueriedEntry(value string) Entry {
	if strings.HasPrefix(value, "md5") && len(value) == md5Length {
		return ParseEntry(value, Key{})
	}
	if strings.HasPrefix(value, verifierPrefix) {
		if e := ParseEntry(value, Key{}); e.CanSCRAM() {
			return e
		}
	}
	if value == "" || strings.HasPrefix(value, "SCRAM-") {
		return Entry{}
	}
	return Entry{kind: EntryPlain, clear: value}
}
