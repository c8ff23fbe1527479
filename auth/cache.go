package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"

	"github.com/xdg-go/scram"
)

// maxFactors bounds how many (salt, iterations) pairs of one password are remembered for logins to servers, so that
// a server that makes up salts cannot fill memory.
const maxFactors = 8

// Cache remembers what SCRAM's key derivation made of a password, for clients and for servers, so that only the first
// login of a user is expensive. It holds a bounded number of passwords' keys; it is safe for concurrent use, never
// blocks on anything but its own short critical sections, and holds no password as a key.
//
// The secret outlives the process. It makes the salt of every user without a verifier, known or not, so a client
// cannot tell a user that exists from one that does not by the salt, nor by when it changes. The shape of such salts is
// that of the first verifier a client is checked against, see [shape].
type Cache struct {
	secret Random
	macs   sync.Pool // of *keyedHash, with the secret

	mu     sync.Mutex // guards what follows, held for look-ups only, never while deriving
	shape  shape
	known  *lru[digest, scram.StoredCredentials]
	logins *lru[digest, *loginKeys]
}

type digest [sha256.Size]byte

// shape is what a client sees of a verifier: its iteration count and the length of its salt in bytes. Users whose entry
// is a password, and users that do not exist, are shown the shape of the verifiers there are, so that none stands out
// where all were made with the same settings; verifiers of several shapes can be told from users that do not exist.
type shape struct {
	iterations, salt int
	learned          bool
}

// The shape before any verifier was seen is PostgreSQL's default. A verifier that is out of these bounds teaches
// nothing: fewer iterations would weaken the exchange of other users, more would make each wrong password expensive.
const (
	scramIterations     = 4096
	scramSalt           = 16
	maxLearnedIteration = 32768
	minLearnedSalt      = 12
)

// loginKeys is a password with the keys derived from it for the salts servers showed us.
type loginKeys struct {
	id      digest
	client  *scram.Client
	factors map[scram.KeyFactors]bool // guarded by Cache.mu
}

// NewCache remembers at most size users towards clients and as many passwords towards servers.
func NewCache(secret Random, size int) *Cache {
	return &Cache{
		secret: secret,
		shape:  shape{iterations: scramIterations, salt: scramSalt},
		known:  newLRU[digest, scram.StoredCredentials](size),
		logins: newLRU[digest, *loginKeys](size),
	}
}

// keyedHash is used again and again: most of an HMAC's cost is the making of it.
type keyedHash struct {
	hash hash.Hash
	text []byte
}

// mac binds parts to the process's secret and to a purpose.
func (c *Cache) mac(purpose string, parts ...string) (sum digest) {
	k, _ := c.macs.Get().(*keyedHash)
	if k == nil {
		k = &keyedHash{hash: hmac.New(sha256.New, c.secret[:])}
	}
	k.text = append(k.text[:0], purpose...)
	for _, part := range parts {
		k.text = append(append(k.text, 0), part...)
	}
	k.hash.Reset()
	k.hash.Write(k.text)
	clear(k.text) // it may hold a password
	k.text = k.hash.Sum(k.text[:0])
	copy(sum[:], k.text)
	c.macs.Put(k)
	return sum
}

// learn takes over the shape of the first verifier, and tells which one is in force.
func (c *Cache) learn(v verifier) shape {
	c.mu.Lock()
	defer c.mu.Unlock()
	fits := v.iterations >= scramIterations && v.iterations <= maxLearnedIteration &&
		len(v.salt) >= minLearnedSalt && len(v.salt) <= sha256.Size
	if !c.shape.learned && fits {
		c.shape = shape{iterations: v.iterations, salt: len(v.salt), learned: true}
	}
	return c.shape
}

// verifierJob is what one user's proof is compared with, or the way to it.
type verifierJob struct {
	cache    *Cache
	factors  scram.KeyFactors // what the client is told
	verifier verifier         // the user's entry, if it is one
	usable   bool             // there is a verifier, or a password to make one from
	key      digest
	user     string
	password string
	mock     scram.KeyFactors // of the work done in vain
}

// verifier prepares the look-up of what a user's proof is compared with. For a user without a usable password it works
// alike, on a password nobody knows.
func (c *Cache) verifier(user string, entry Entry) verifierJob {
	shown := c.learn(entry.verifier)
	salt := c.mac("salt", user)
	job := verifierJob{cache: c, user: user, verifier: entry.verifier}
	job.mock = scram.KeyFactors{Salt: string(salt[:shown.salt]), Iters: shown.iterations}
	job.factors = job.mock
	clear, known := entry.Clear()
	job.usable = known || entry.verifier.usable()
	switch {
	case known:
		job.password = saslPrep(clear)
	case entry.verifier.usable():
		job.factors = entry.verifier.factors()
		fallthrough
	default:
		sum := c.mac("mock", user)
		job.password = hex.EncodeToString(sum[:])
	}
	job.key = c.mac("verifier", user, job.password, job.factors.Salt)
	return job
}

// get gives what is at hand without work; ready is false where derive has to make it, or nothing ever will.
func (j verifierJob) get() (stored scram.StoredCredentials, ready bool) {
	if j.verifier.usable() {
		return j.verifier.credentials(), true
	}
	j.cache.mu.Lock()
	defer j.cache.mu.Unlock()
	if stored, ready = j.cache.known.get(j.key); ready && stored.KeyFactors == j.factors {
		return stored, true
	}
	return scram.StoredCredentials{KeyFactors: j.factors, StoredKey: make([]byte, sha256.Size), ServerKey: make([]byte, sha256.Size)}, false
}

// derive is expensive, and equally so for every user: also where its result serves for nothing.
func (j verifierJob) derive() (scram.StoredCredentials, error) {
	client, err := scram.SHA256.NewClientUnprepped("", j.password, "")
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	stored, err := client.GetStoredCredentialsWithError(j.mock)
	if err != nil || !j.usable || j.verifier.usable() {
		return stored, err
	}
	j.cache.mu.Lock()
	defer j.cache.mu.Unlock()
	j.cache.known.put(j.key, stored)
	return stored, nil
}

// matches reports whether a password is the one a verifier was made from. It is expensive; a password that matches is
// remembered, one that does not is not.
func (c *Cache) matches(v verifier, password string) bool {
	keys, err := c.newKeys(password) // not those at hand, which would remember what does not match
	if err != nil || !keys.match(v) {
		return false
	}
	c.keep(keys, v.factors())
	return true
}

func (k *loginKeys) match(v verifier) bool {
	stored, err := k.client.GetStoredCredentialsWithError(v.factors())
	return err == nil && hmac.Equal(stored.StoredKey, v.stored[:])
}

// remembered is matches where it costs nothing; false means nothing.
func (c *Cache) remembered(v verifier, password string) bool {
	keys, err := c.login(password)
	return err == nil && c.derived(keys, v.factors()) && keys.match(v)
}

// login finds the keys of a password towards servers, empty ones at first.
func (c *Cache) login(password string) (*loginKeys, error) {
	fresh, err := c.newKeys(password)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if keys, ok := c.logins.get(fresh.id); ok && len(keys.factors) < maxFactors {
		return keys, nil
	}
	return fresh, nil
}

func (c *Cache) newKeys(password string) (*loginKeys, error) {
	prepared := saslPrep(password)
	client, err := scram.SHA256.NewClientUnprepped("", prepared, "")
	if err != nil {
		return nil, err
	}
	// A server's low count is its operator's business; too high a one is refused before we come here.
	return &loginKeys{id: c.mac("login", prepared), client: client.WithMinIterations(1), factors: map[scram.KeyFactors]bool{}}, nil
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
	c.keep(keys, f)
	return nil
}

func (c *Cache) keep(keys *loginKeys, f scram.KeyFactors) {
	c.mu.Lock()
	defer c.mu.Unlock()
	keys.factors[f] = true
	c.logins.put(keys.id, keys)
}
