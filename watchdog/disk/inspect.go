package disk

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"os"
)

// inspect looks at a file before the library does. The library trusts what it finds: of damaged pages it can read for ever in a circle,
// beyond the end of a file that was cut short, and in both cases on goroutines where nobody can interfere. So all pages that can be
// reached are visited once, by what the library's page, meta and element structures say. What is in the records is checked later.
func inspect(path string) error {
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	p := pages{file: file, seen: make(map[uint64]bool)}
	m, ok := p.meta()
	if !ok {
		return fmt.Errorf("%w: it was not made by the watchdog, or its beginning is damaged", ErrDamaged)
	}
	if p.size, p.count = m.pageSize(), m.pages(); p.size < 1024 || p.count > uint64(len(file))/p.size {
		return fmt.Errorf("%w: it was cut short", ErrDamaged)
	}
	if m.freelist() == math.MaxUint64 {
		return fmt.Errorf("%w: it was not made by the watchdog", ErrDamaged)
	}
	if !p.tree(m.root(), maxDepth) || !p.free(m.freelist()) {
		return fmt.Errorf("%w: its pages contradict each other", ErrDamaged)
	}
	return nil
}

// boltMeta is a meta page of the library behind the page's header: magic, version, page size, flags (4 bytes each), root page, sequence,
// page of the free list, number of pages, transaction, checksum (8 bytes each), as the machine orders bytes.
type boltMeta []byte

const boltMetaLen = 64

func (m boltMeta) valid() bool {
	const magic = 0xED0CDAED
	if len(m) < boltMetaLen {
		return false
	}
	h := fnv.New64a()
	h.Write(m[:56])
	return binary.NativeEndian.Uint32(m) == magic && binary.NativeEndian.Uint64(m[56:]) == h.Sum64()
}

func (m boltMeta) pageSize() uint64    { return uint64(binary.NativeEndian.Uint32(m[8:])) }
func (m boltMeta) root() uint64        { return binary.NativeEndian.Uint64(m[16:]) }
func (m boltMeta) freelist() uint64    { return binary.NativeEndian.Uint64(m[32:]) }
func (m boltMeta) pages() uint64       { return binary.NativeEndian.Uint64(m[40:]) }
func (m boltMeta) transaction() uint64 { return binary.NativeEndian.Uint64(m[48:]) }

// pages are those of a file. A page begins with its number (8 bytes), flags and number of elements (2 each), and how many pages more
// belong to it (4).
type pages struct {
	file        []byte
	size, count uint64
	seen        map[uint64]bool
}

const (
	headerLen  = 16
	elementLen = 16
	maxDepth   = 32

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketLeaf   = 0x01
)

// meta is the valid meta page of the newest transaction.
func (p *pages) meta() (newest boltMeta, ok bool) {
	second := uint64(os.Getpagesize())
	if newest = p.metaAt(0); newest.valid() {
		second, ok = newest.pageSize(), true
	}
	if other := p.metaAt(second); other.valid() && (!ok || other.transaction() > newest.transaction()) {
		newest, ok = other, true
	}
	return newest, ok
}

func (p *pages) metaAt(offset uint64) boltMeta {
	if end := offset + headerLen + boltMetaLen; end <= uint64(len(p.file)) {
		return p.file[offset+headerLen : end]
	}
	return nil
}

// page returns a page that has not been seen, with all that belongs to it.
func (p *pages) page(id uint64) (page []byte, flags, elements uint16, ok bool) {
	if id < 2 || id >= p.count {
		return nil, 0, 0, false
	}
	page = p.file[id*p.size:]
	more := uint64(binary.NativeEndian.Uint32(page[12:]))
	if binary.NativeEndian.Uint64(page) != id || more >= p.count-id {
		return nil, 0, 0, false
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i] {
			return nil, 0, 0, false
		}
		p.seen[i] = true
	}
	return page[:(more+1)*p.size], binary.NativeEndian.Uint16(page[8:]), binary.NativeEndian.Uint16(page[10:]), true
}

// tree visits a page and those below.
func (p *pages) tree(id uint64, depth int) bool {
	page, flags, elements, ok := p.page(id)
	switch {
	case !ok || depth == 0:
		return false
	case flags == leafPage:
		return p.leaf(page, uint64(elements), depth)
	case flags != branchPage || elements == 0:
		return false
	}
	for i := range uint64(elements) {
		e, ok := element(page, i)
		if !ok || !within(page, i, uint64(binary.NativeEndian.Uint32(e)), uint64(binary.NativeEndian.Uint32(e[4:]))) ||
			!p.tree(binary.NativeEndian.Uint64(e[8:]), depth-1) {
			return false
		}
	}
	return true
}

// leaf visits the buckets among a page's elements. A small bucket is a page within the element.
func (p *pages) leaf(page []byte, elements uint64, depth int) bool {
	for i := range elements {
		e, ok := element(page, i)
		if !ok {
			return false
		}
		offset, key := uint64(binary.NativeEndian.Uint32(e[4:])), uint64(binary.NativeEndian.Uint32(e[8:]))
		value := uint64(binary.NativeEndian.Uint32(e[12:]))
		if !within(page, i, offset, key+value) {
			return false
		}
		if binary.NativeEndian.Uint32(e)&bucketLeaf != 0 && !p.bucket(page[headerLen+i*elementLen+offset+key:][:value], depth) {
			return false
		}
	}
	return true
}

// bucket is the root page of a bucket and a sequence (8 bytes each), and the page itself where that is 0.
func (p *pages) bucket(b []byte, depth int) bool {
	if len(b) < headerLen || depth == 0 {
		return false
	}
	if root := binary.NativeEndian.Uint64(b); root != 0 {
		return p.tree(root, depth-1)
	}
	inline := b[headerLen:]
	return len(inline) >= headerLen && binary.NativeEndian.Uint16(inline[8:]) == leafPage &&
		p.leaf(inline, uint64(binary.NativeEndian.Uint16(inline[10:])), depth-1)
}

// free visits the list of free pages, which must be the others.
func (p *pages) free(id uint64) bool {
	page, flags, elements, ok := p.page(id)
	if !ok || flags != freelistPage {
		return false
	}
	list, n := page[headerLen:], uint64(elements)
	if n == math.MaxUint16 {
		list, n = list[8:], binary.NativeEndian.Uint64(list)
	}
	if n > uint64(len(list)/8) {
		return false
	}
	for i := range n {
		id := binary.NativeEndian.Uint64(list[8*i:])
		if id < 2 || id >= p.count || p.seen[id] {
			return false
		}
		p.seen[id] = true
	}
	return true
}

func element(page []byte, i uint64) ([]byte, bool) {
	at := headerLen + i*elementLen
	if at+elementLen > uint64(len(page)) {
		return nil, false
	}
	return page[at:][:elementLen], true
}

// within reports whether what an element points to, from its own place, is in the page.
func within(page []byte, i, offset, length uint64) bool {
	return headerLen+i*elementLen+offset+length <= uint64(len(page))
}
