package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"sync"
	"testing"

	"github.com/xdg-go/scram"
)

// Keys are remembered for the entry as it is now: what was kept of a password lets nobody in once the entry has another
// one or is gone, whatever the method and the form of the entry.
func TestKeptKeysFollowTheEntry(t *testing.T) {
	factors := scram.KeyFactors{Salt: "0123456789abcdef", Iters: scramIterations}
	verifierOf := func(password string) Entry { return verifierWith(t, password, factors) }
	oldForms := map[string]Entry{"password": ParseEntry("TEXTold", Key{}), "verifier": verifierOf("old")}
	tests := []struct {
		name  string
		entry Entry
		right string // the password that gets in, "" none
	}{
		{"unchanged", ParseEntry("TEXTold", Key{}), "old"},
		{"other form of the same", verifierOf("old"), "old"},
		{"changed", ParseEntry("TEXTnew", Key{}), "new"},
		{"changed, a verifier now", verifierOf("new"), "new"},
		{"removed", Entry{}, ""},
		{"empty", ParseEntry("TEXT", Key{}), ""},
		{"cannot be decrypted", ParseEntry("AESxx", NewKey("k")), ""},
		{"broken verifier", ParseEntry("SCRAM-SHA-256$4096", Key{}), ""},
	}
	for _, ask := range []Ask{AskSCRAM, AskCleartext} {
		for form, old := range oldForms {
			for _, tt := range tests {
				cache := testCache()
				for range 2 { // remembered, and used
					if !letsIn(t, cache, ask, old, "old") {
						t.Fatalf("%v, %s: the password is refused", ask, form)
					}
				}
				for _, password := range []string{"old", "new", "old"} {
					if got, want := letsIn(t, cache, ask, tt.entry, password), password == tt.right; got != want {
						t.Errorf("%v, %s, then %s: %q is let in: %t", ask, form, tt.name, password, got)
					}
				}
			}
		}
	}
}

// letsIn logs in by password over a cache.
func letsIn(t *testing.T, cache *Cache, ask Ask, entry Entry, password string) bool {
	t.Helper()
	server := NewAcceptor(planFor(ask), Party{User: testUser, Entry: entry, Cache: cache, Random: NewRandom()})
	serverErr, clientErr := converse(t, server, NewLogin(PasswordCredential(testUser, password), testCache(), nil))
	if clientErr != nil {
		t.Fatal(clientErr)
	}
	return serverErr == nil && server.Identity().By == ByEntry
}

// One cache serves all loops: what it reuses is not mixed up.
func TestMACConcurrently(t *testing.T) {
	cache := testCache()
	want := func(text string) digest {
		h := hmac.New(sha256.New, cache.secret[:])
		h.Write([]byte(text))
		return digest(h.Sum(nil))
	}
	var users sync.WaitGroup
	for _, name := range []string{"a", "b", "a longer name, so that what is reused has to grow: a longer name indeed"} {
		users.Go(func() {
			for range 200 {
				if cache.mac("salt", name) != want("salt\x00"+name) || cache.mac("verifier", name, "x", "") != want("verifier\x00"+name+"\x00x\x00") {
					t.Errorf("%q has another sum", name)
					return
				}
			}
		})
	}
	users.Wait()
}
