package auth

import "testing"

func TestQueriedEntry(t *testing.T) {
	t.Parallel()
	hash := MD5Hash("secret", "u")
	for value, want := range map[string]struct {
		kind  EntryKind
		clear string
	}{
		"":                             {EntryNone, ""},
		hash:                           {EntryMD5, ""},
		"secret":                       {EntryPlain, "secret"},
		"TEXTsecret":                   {EntryPlain, "TEXTsecret"},
		"AESxyz":                       {EntryPlain, "AESxyz"},
		"md5":                          {EntryPlain, "md5"},
		hash + "0":                     {EntryPlain, hash + "0"},
		"SCRAM-SHA-512$4096:aa$bb:cc":  {EntryNone, ""},
		"SCRAM-":                       {EntryNone, ""},
		"SCRAM-SHA-256$4096:x$y:z":     {EntryNone, ""},
		"SCRAM-SHA-256$":               {EntryNone, ""},
		"scram-sha-256$4096:aa$bb:cc":  {EntryPlain, "scram-sha-256$4096:aa$bb:cc"},
		" SCRAM-SHA-256$4096:aa$bb:cc": {EntryPlain, " SCRAM-SHA-256$4096:aa$bb:cc"},
		"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$" +
			"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=": {EntrySCRAM, ""},
	} {
		e := QueriedEntry(value)
		clear, _ := e.Clear()
		if e.Kind() != want.kind || clear != want.clear {
			t.Errorf("%q: %v, want %v", value, e, want.kind)
		}
	}
}
