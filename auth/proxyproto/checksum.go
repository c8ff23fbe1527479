package proxyproto

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

var (
	errChecksum = errors.New("wrong checksum")
	errAddition = errors.New("an addition is cut off")
)

// An addition to a header of version 2: a type, two bytes of length, a value.
const (
	additionHead = 3
	typeChecksum = 3
)

// checkAdditions looks through the additions of a header, which begin at a position in it. A checksum among them is the CRC32c of the
// whole header with zeros in the checksum's own place.
func checkAdditions(header []byte, at int) error {
	for at < len(header) {
		if len(header)-at < additionHead {
			return errAddition
		}
		typ, length := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		at += additionHead
		if len(header)-at < length {
			return errAddition
		}
		if typ == typeChecksum && (length != crc32.Size || sum(header, at) != binary.BigEndian.Uint32(header[at:])) {
			return errChecksum
		}
		at += length
	}
	return nil
}

// sum is the checksum of a header that has one at a position.
func sum(header []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Update(0, table, header[:at])
	crc = crc32.Update(crc, table, make([]byte, crc32.Size))
	return crc32.Update(crc, table, header[at+crc32.Size:])
}
