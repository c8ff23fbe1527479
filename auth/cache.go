package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/xdg-go/scram"
)

// scramIterations is the PBKDF2 count of the verifiers we make; PostgreSQL's default.
const scramIterations = 4096

// maxFactors bounds how many (salt, iterations) pairs of one password are remembered for logins to servers, so that
// a server that makes up salts cannot fill memory.
const maxFactors = 8

// Cache remembers what SCRAM's key derivation made of a password, for clients and for servers, so that only the first
// login of a user is expensive. It holds a bounded number of passwords' keys; it is safe for concurrent use, never
// blocks on anything but its own short critical sections, and holds no password as a key.
//
// The secret is drawn once per process. It makes the salt of every user, known or not, so a client cannot tell a user
// that exists from one that does not by the salt, nor by when it changes.
type Cache struct {
	secret Random

	mu     sync.Mutex // guards the maps below, held for look-ups only, never while deriving
	known  *lru[digest, scram.StoredCredentials]
	mock   *lru[digest, scram.StoredCredentials] // apart, so that invented names push out no real user
	logins *lru[digest, *loginKeys]
}

type digest [sha256.Size]byte

// loginKeys is a password with the keys derived from it for the salts servers showed us.
type loginKeys struct {
	client  *scram.Client
	factors map[scram.KeyFactors]bool // guarded by Cache.mu
}

// NewCache remembers at most size users towards clients, as many invented ones, and as many passwords towards servers.
func NewCache(secret Random, size int) *Cache {
	return &Cache{
		secret: secret,
		known:  newLRU[digest, scram.StoredCredentials](size),
		mock:   newLRU[digest, scram.StoredCredentials](size),
		logins: newLRU[digest, *loginKeys](size),
	}
}

// mac binds parts to the process's secret and to a purpose.
func (c *Cache) mac(purpose, text string) digest {
	h := hmac.New(sha256.New, c.secret[:])
	h.Write([]byte(purpose))
	h.Write([]byte{0})
	h.Write([]byte(text))
	return digest(h.Sum(nil))
}

// verifierJob is the verifier of one user, or the way to it.
type verifierJob struct {
	cache    *Cache
	from     *lru[digest, scram.StoredCredentials]
	key      digest
	user     string
	password string
}

// verifier prepares the look-up of a user's verifier. For a user without a usable password it works alike, on a
// password nobody knows.
func (c *Cache) verifier(user, password string, known bool) verifierJob {
	job := verifierJob{cache: c, from: c.known, user: user, password: saslPrep(password)}
	if !known {
		sum := c.mac("mock", user)
		job.from, job.password = c.mock, hex.EncodeToString(sum[:])
	}
	job.key = c.mac("verifier", user+"\x00"+job.password)
	return job
}

func (j verifierJob) get() (scram.StoredCredentials, bool) {
	j.cache.mu.Lock()
	defer j.cache.mu.Unlock()
	return j.from.get(j.key)
}

// derive is expensive.
func (j verifierJob) derive() (scram.StoredCredentials, error) {
	salt := j.cache.mac("salt", j.user)
	factors := scram.KeyFactors{Salt: string(salt[:16]), Iters: scramIterations}
	client, err := scram.SHA256.NewClientUnprepped("", j.password, "")
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	verifier, err := client.GetStoredCredentialsWithError(factors)
	if err != nil {
		return verifier, err
	}
	j.cache.mu.Lock()
	defer j.cache.mu.Unlock()
	j.from.put(j.key, verifier)
	return verifier, nil
}

// login finds the keys of a password towards servers, empty ones at first.
func (c *Cache) login(password string) (*loginKeys, error) {
	prepared := saslPrep(password)
	id := c.mac("login", prepared)
	c.mu.Lock()
	defer c.mu.Unlock()
	if keys, ok := c.logins.get(id); ok && len(keys.factors) < maxFactors {
		return keys, nil
	}
	client, err := scram.SHA256.NewClientUnprepped("", prepared, "")
	if err != nil {
		return nil, err
	}
	// A server's low count is its operator's business; too high a one is refused before we come here.
	keys := &loginKeys{client: client.WithMinIterations(1), factors: map[scram.KeyFactors]bool{}}
	c.logins.put(id, keys)
	return keys, nil
}

func (c *Cache) derived(keys *loginKeys, f scram.KeyFactors) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return keys.factors[f]
}

// deriveLogin is expensive.
func (c *Cache) deriveLogin(keys *loginKeys, f scram.KeyFactors) error {
	if _, err := keys.client.GetStoredCredentialsWithError(f); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	keys.factors[f] = true
	return nil
}
