package stmt

// Analyzer turns texts into facts for one loop; it is not safe for concurrent use, but for Parse. Its cache is shared.
type Analyzer struct {
	cache   *Cache
	scratch scratch
	recent  recent
}

// NewAnalyzer answers an analyzer that keeps its facts in cache.
func NewAnalyzer(cache *Cache) *Analyzer { return &Analyzer{cache: cache} }

// Analyze answers the facts of a text, a client's Query or Parse string without its final zero byte. The text is not kept.
// A shape met for the first time is parsed here, which takes from 20 microseconds to some milliseconds; to do that
// elsewhere, use Lookup and Parse.
func (a *Analyzer) Analyze(text []byte) *Facts {
	if f, ok := a.Lookup(text); ok {
		return f
	}
	return a.Parse(text)
}

// Lookup answers the facts of a text if that takes no parsing: its shape is known, or it is one the grammar must not or
// need not see.
func (a *Analyzer) Lookup(text []byte) (*Facts, bool) {
	if f := a.recent.find(text); f != nil {
		return f, true
	}
	s := reduce(text, &a.scratch)
	f := a.cache.find(text, &s)
	if f == nil {
		return nil, false
	}
	if s.plain {
		a.recent.add(text, f)
	}
	return f, true
}

// Parse answers the facts of a text, parsing it if its shape is unknown, and keeps them. It may run on any goroutine while
// the analyzer is used on its loop.
func (a *Analyzer) Parse(text []byte) *Facts {
	var sc scratch
	s := reduce(text, &sc)
	if f := a.cache.find(text, &s); f != nil {
		return f
	}
	return a.cache.parse(&s)
}

// find answers what is known of a shape without the grammar, or nil.
func (c *Cache) find(text []byte, s *shape) *Facts {
	switch s.verdict {
	case shapeOK:
		if s.literals {
			return c.literals.find(s.key)
		}
		return c.shapes.find(s.key)
	case shapeEmpty:
		return c.empty[s.flags&staticFlags]
	case shapePool:
		if f := poolFacts(text); f != nil {
			return f
		}
	}
	return c.unparsed[s.flags&staticFlags]
}

// parse shows a shape to the grammar and keeps what follows from it.
func (c *Cache) parse(s *shape) *Facts {
	f := parseFacts(s.sql(), s.flags)
	switch {
	case !s.literals:
		return c.shapes.add(s.key, f)
	case len(s.key) <= maxLiteralKey:
		return c.literals.add(s.key, f)
	}
	return f
}

// recent is a small memory of texts without literals (BEGIN, prepared statements), which come again byte by byte: looking
// them up costs a comparison. Since facts follow from the text alone, an entry cannot become wrong.
type recent struct {
	slots [recentSlots]recentSlot
}

const (
	recentSlots   = 256
	maxRecentText = 2 << 10
	// A text must have been missed this often since the last change of its slot to take it, so that two that share a slot
	// do not push each other out at every statement.
	recentPatience = 64
)

type recentSlot struct {
	text   string
	facts  *Facts
	misses uint8
}

func (r *recent) find(text []byte) *Facts {
	if len(text) == 0 {
		return nil
	}
	if s := &r.slots[recentIndex(text)]; s.text == string(text) {
		return s.facts
	}
	return nil
}

func (r *recent) add(text []byte, f *Facts) {
	if len(text) == 0 || len(text) > maxRecentText {
		return
	}
	s := &r.slots[recentIndex(text)]
	if s.misses++; s.facts == nil || s.misses >= recentPatience {
		*s = recentSlot{text: string(text), facts: f}
	}
}

// recentIndex mixes the length and a few bytes of a text, not empty.
func recentIndex(text []byte) uint8 {
	n := len(text)
	h := uint32(n)
	for _, at := range [...]int{0, n / 4, n / 2, n - n/4 - 1, n - 1, n - 1 - n/8} {
		h = h*0x9e3779b1 + uint32(text[at])
	}
	return uint8(h * 0x9e3779b1 >> 24)
}
