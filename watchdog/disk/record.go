package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"
)

// The file has two buckets. "state" holds at most one record of each kind; "log" holds the entries by index, as eight bytes in the order
// of the bytes. Each record begins with a checksum over its key and its content. The record "seal" says which records there are.
var (
	stateBucket = []byte("state")
	logBucket   = []byte("log")

	formatKey    = []byte("format")
	metaKey      = []byte("meta")
	hardStateKey = []byte("hardstate")
	snapshotKey  = []byte("snapshot")
	sealKey      = []byte("seal")

	formatValue = []byte("gopgpool watchdog 1")
)

const (
	checksumLen = crc32.Size
	indexLen    = 8
)

func checksum(key, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, value)
}

// put stores a record; it takes a copy.
func put(b *bolt.Bucket, key, value []byte) error {
	record := binary.BigEndian.AppendUint32(make([]byte, 0, checksumLen+len(value)), checksum(key, value))
	return b.Put(key, append(record, value...))
}

// content checks a record. Its content is valid as long as the transaction.
func content(key, record []byte) ([]byte, error) {
	if len(record) < checksumLen || binary.BigEndian.Uint32(record) != checksum(key, record[checksumLen:]) {
		return nil, fmt.Errorf("%w: checksum of record %q", ErrDamaged, key)
	}
	return record[checksumLen:], nil
}

// get reads a record of the state; nil if there is none, else it is not nil.
func get(b *bolt.Bucket, key []byte) ([]byte, error) {
	record := b.Get(key)
	if record == nil {
		return nil, nil
	}
	return content(key, record)
}

func putProto(b *bolt.Bucket, key []byte, m proto.Message) error {
	value, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return put(b, key, value)
}

// getProto reads a record into m and reports whether there is one.
func getProto(b *bolt.Bucket, key []byte, m proto.Message) (bool, error) {
	value, err := get(b, key)
	if err != nil || value == nil {
		return false, err
	}
	if err := proto.Unmarshal(value, m); err != nil {
		return false, fmt.Errorf("%w: record %q: %w", ErrDamaged, key, err)
	}
	return true, nil
}

// seal is what a whole file has in its seal: the checksum of each record of the state, or that there is none, and the bounds of the log.
// Without it a record that damage made unfindable would pass for one that never was.
func seal(state *bolt.Bucket, first, last uint64) (sum []byte) {
	for _, key := range [][]byte{formatKey, metaKey, hardStateKey, snapshotKey} {
		if record := state.Get(key); len(record) >= checksumLen {
			sum = append(append(sum, 1), record[:checksumLen]...)
		} else {
			sum = append(sum, 0)
		}
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(sum, first), last)
}

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// format makes the empty store.
func format(tx *bolt.Tx) error {
	if _, err := tx.CreateBucket(logBucket); err != nil {
		return err
	}
	state, err := tx.CreateBucket(stateBucket)
	if err != nil {
		return err
	}
	if err := put(state, formatKey, formatValue); err != nil {
		return err
	}
	return put(state, sealKey, seal(state, 1, 0))
}

// ours tells our file from one that another program made with the same library.
func ours(tx *bolt.Tx) error {
	state := tx.Bucket(stateBucket)
	if state == nil || tx.Bucket(logBucket) == nil {
		return fmt.Errorf("%w: it was not made by the watchdog", ErrDamaged)
	}
	value, err := get(state, formatKey)
	if err != nil {
		return err
	}
	if string(value) != string(formatValue) {
		return fmt.Errorf("%w: its format is %q, expected %q", ErrDamaged, value, formatValue)
	}
	return nil
}
