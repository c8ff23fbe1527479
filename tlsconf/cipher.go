package tlsconf

import (
	"errors"
	"slices"
	"strings"
)

var errNoCipher = errors.New("none of these ciphers exists here")

// ciphers reads a cipher string of OpenSSL and returns the suites of crypto/tls up to TLS 1.2. Nothing is to be configured of
// TLS 1.3, and crypto/tls chooses the order.
//
// Suites that crypto/tls calls insecure (RSA key exchange, 3DES, RC4, CBC with SHA-256) are used if they are named, or what
// makes them insecure is (kRSA, 3DES, RC4, SHA256): groups such as HIGH, AES and ALL do not contain them.
func ciphers(list string, w *warner) ([]uint16, error) {
	c := chooser{all: suites()}
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return strings.ContainsRune(":,; ", r) }) {
		c.apply(word)
	}
	if len(c.missing) > 0 {
		w.warn("ssl_ciphers: these do not exist here and are not used: %s", strings.Join(c.missing, ", "))
	}
	if c.level != "" {
		w.warn("ssl_ciphers: @%s has no effect", c.level)
	}
	if len(c.chosen) == 0 {
		return nil, errNoCipher
	}
	ids := make([]uint16, len(c.chosen))
	for i, n := range c.chosen {
		ids[i] = c.all[n].id
	}
	return ids, nil
}

// chooser holds what the words read so far have chosen.
type chooser struct {
	all     []suite
	chosen  []int // indexes of all
	banned  []int // by an exclamation mark: no later word brings them back
	missing []string
	level   string
}

func (c *chooser) apply(word string) {
	switch word[0] {
	case '!':
		ban := c.removed(word[1:])
		c.banned, c.chosen = append(c.banned, ban...), without(c.chosen, ban)
	case '-':
		c.chosen = without(c.chosen, c.removed(word[1:]))
	case '+': // moves to the end, and the order is not ours
	case '@':
		if word != "@STRENGTH" {
			c.level = word[1:]
		}
	default:
		c.add(word)
	}
}

func (c *chooser) add(word string) {
	found := false
	for i := range c.all {
		if !c.all[i].added(word) {
			continue
		}
		found = true
		if !slices.Contains(c.chosen, i) && !slices.Contains(c.banned, i) {
			c.chosen = append(c.chosen, i)
		}
	}
	if !found && !slices.Contains(broadGroups(), word) && !slices.Contains(c.missing, word) {
		c.missing = append(c.missing, word)
	}
}

// broadGroups are words one writes without wanting each cipher in them: that nothing of them exists is no surprise.
func broadGroups() []string {
	return []string{"HIGH", "MEDIUM", "LOW", "ALL", "DEFAULT", "PROFILE=SYSTEM", "COMPLEMENTOFALL", "COMPLEMENTOFDEFAULT"}
}

// removed are the suites a word with - or ! is about.
func (c *chooser) removed(word string) []int {
	var out []int
	for i := range c.all {
		if c.all[i].meant(word) {
			out = append(out, i)
		}
	}
	return out
}

func without(list, gone []int) []int {
	return slices.DeleteFunc(list, func(i int) bool { return slices.Contains(gone, i) })
}

// meant reports whether a suite is the one named, or in all of the groups joined by plus signs.
func (s *suite) meant(word string) bool {
	if slices.Contains(s.names, word) {
		return true
	}
	for group := range strings.SplitSeq(word, "+") {
		if group == "DEFAULT" || group == "PROFILE=SYSTEM" {
			group = "ALL"
		}
		if !slices.Contains(s.tags, group) {
			return false
		}
	}
	return true
}

// added is meant, but a weak suite must be asked for by what makes it weak.
func (s *suite) added(word string) bool {
	if slices.Contains(s.names, word) {
		return true
	}
	if !s.meant(word) {
		return false
	}
	return len(s.weak) == 0 || slices.ContainsFunc(s.weak, func(tag string) bool {
		return slices.Contains(strings.Split(word, "+"), tag)
	})
}
