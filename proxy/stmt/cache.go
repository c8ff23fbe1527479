package stmt

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Limits bound what a [Cache] holds. Zero values mean the defaults.
type Limits struct {
	Entries int // shapes, rounded up to a power of two; default 8192
	Bytes   int // memory of shapes and facts, estimated; default 64 MB
}

const (
	defaultEntries = 8192
	defaultBytes   = 64 << 20
	// Statements whose literals are facts (SET work_mem = 64) come in unlimited number; they live in a table of their own, so
	// that they push out only each other.
	literalEntries = 1024
	literalBytes   = 4 << 20
	maxLiteralKey  = 4 << 10
)

// Cache holds facts by shape. It is shared by all loops, safe for concurrent use, and its readers take no lock.
type Cache struct {
	shapes   *table
	literals *table
	// Facts of texts that need no grammar, by their staticFlags.
	empty, unparsed [staticFlags + 1]*Facts
}

// NewCache answers an empty cache within the limits.
func NewCache(l Limits) *Cache {
	if l.Entries <= 0 {
		l.Entries = defaultEntries
	}
	if l.Bytes <= 0 {
		l.Bytes = defaultBytes
	}
	c := &Cache{
		shapes:   newTable(l.Entries, l.Bytes),
		literals: newTable(min(literalEntries, l.Entries), min(literalBytes, l.Bytes)),
	}
	for flags := range byte(len(c.empty)) {
		c.empty[flags] = emptyFacts(flags)
		c.unparsed[flags] = unparsedFacts(flags)
	}
	return c
}

// CacheStats tell how full a cache is.
type CacheStats struct{ Entries, Bytes int }

// Stats answers the number of shapes held and the memory they are estimated to take.
func (c *Cache) Stats() CacheStats {
	a, b := c.shapes.stats(), c.literals.stats()
	return CacheStats{Entries: a.Entries + b.Entries, Bytes: a.Bytes + b.Bytes}
}

// ways is the number of entries a hash may live in; tag and pointer of all of them fill one and a half cache lines.
const ways = 8

// table is a set-associative hash table of fixed size. Readers look at a set's entries through atomics; writers are
// serialised and replace the entry that was not used since the clock hand of its set came by last.
type table struct {
	seed maphash.Seed
	mask uint64
	sets []set

	mu       sync.Mutex // guards writing to sets and what follows
	entries  int
	bytes    int
	maxBytes int
	sweep    int // next set to be relieved when bytes are exceeded
}

type set struct {
	tags [ways]atomic.Uint32
	ents [ways]atomic.Pointer[entry]
	hand uint8 // guarded by the table's mu
}

type entry struct {
	key   string
	facts *Facts
	size  int
	used  atomic.Bool
}

func newTable(entries, maxBytes int) *table {
	n := 1
	for n*ways < entries {
		n *= 2
	}
	return &table{seed: maphash.MakeSeed(), mask: uint64(n - 1), sets: make([]set, n), maxBytes: maxBytes}
}

// find answers the facts kept under key, nil if none. It does not allocate.
func (t *table) find(key []byte) *Facts {
	h := maphash.Bytes(t.seed, key)
	s, tag := &t.sets[h&t.mask], uint32(h>>32)
	for i := range s.tags {
		if s.tags[i].Load() != tag {
			continue
		}
		if e := s.ents[i].Load(); e != nil && e.key == string(key) {
			if !e.used.Load() {
				e.used.Store(true)
			}
			return e.facts
		}
	}
	return nil
}

// add keeps facts under key and answers the facts kept there, which may be another session's that came first.
func (t *table) add(key []byte, f *Facts) *Facts {
	h := maphash.Bytes(t.seed, key)
	e := &entry{key: string(key), facts: f, size: entryOverhead + len(key) + f.size()}
	if e.size > t.maxBytes {
		return f
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.sets[h&t.mask]
	way := -1
	for i := range s.ents {
		switch old := s.ents[i].Load(); {
		case old == nil:
			way = i
		case old.key == e.key:
			return old.facts
		}
	}
	if way < 0 {
		way = s.victim()
		t.dropLocked(s, way)
	}
	t.entries++
	t.bytes += e.size
	t.relieveLocked(s)
	s.ents[way].Store(e)
	s.tags[way].Store(uint32(h >> 32))
	return f
}

// victim turns the set's clock hand to the entry that goes.
func (s *set) victim() int {
	for {
		i := int(s.hand)
		s.hand = (s.hand + 1) % ways
		if e := s.ents[i].Load(); e == nil || !e.used.Swap(false) {
			return i
		}
	}
}

// relieveLocked drops entries of other sets, and of keep at last, until the bytes are within bounds.
func (t *table) relieveLocked(keep *set) {
	for turns := 0; t.bytes > t.maxBytes && turns < 2*ways*len(t.sets); turns++ {
		s := &t.sets[t.sweep]
		t.sweep = (t.sweep + 1) % len(t.sets)
		if s == keep && len(t.sets) > 1 && turns < ways*len(t.sets) {
			continue
		}
		t.dropLocked(s, s.victim())
	}
}

func (t *table) dropLocked(s *set, way int) {
	if e := s.ents[way].Load(); e != nil {
		t.entries--
		t.bytes -= e.size
		s.tags[way].Store(0)
		s.ents[way].Store(nil)
	}
}

func (t *table) stats() CacheStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return CacheStats{Entries: t.entries, Bytes: t.bytes}
}

// entryOverhead is the memory of an entry and its Facts without what they point to.
const entryOverhead = 480

// size estimates the memory of what the facts point to.
func (f *Facts) size() int {
	if f == nil {
		return 0
	}
	n := len(f.Name) + len(f.DatabaseDDL)
	for _, names := range [][]Name{f.Relations, f.Functions, f.CreatesTemp, f.DropsTables} {
		for _, name := range names {
			n += 32 + len(name.Schema) + len(name.Name)
		}
	}
	if f.Setting != nil {
		n += 64 + len(f.Setting.Name) + len(f.Setting.Value)
	}
	if f.Inner != nil {
		n += entryOverhead + f.Inner.size()
	}
	return n
}
