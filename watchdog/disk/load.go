package disk

import (
	"bytes"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Load reads everything. The image is the caller's. An error that is ErrDamaged says what does not fit.
func (s *Store) Load() (Image, error) {
	var img Image
	if err := s.ready(); err != nil {
		return img, err
	}
	err := s.guarded(func() error {
		return s.db.View(func(tx *bolt.Tx) (err error) {
			img, err = load(tx)
			return err
		})
	})
	if err != nil {
		return Image{}, err
	}
	return img, nil
}

func load(tx *bolt.Tx) (img Image, err error) {
	l, err := openLog(tx)
	if err != nil {
		return img, err
	}
	meta, err := get(l.state, metaKey)
	if err != nil {
		return img, err
	}
	img.Meta = bytes.Clone(meta)
	if img.HardState, err = read(l.state, hardStateKey, &raftpb.HardState{}); err != nil {
		return img, err
	}
	img.Snapshot = l.snapshot
	next := l.first
	err = l.entries.ForEach(func(k, v []byte) error {
		entry, err := entryOf(k, v)
		if err != nil {
			return err
		}
		if entry.GetIndex() != next {
			return fmt.Errorf("%w: entry %d where %d should be", ErrDamaged, entry.GetIndex(), next)
		}
		next++
		img.Entries = append(img.Entries, entry)
		return nil
	})
	if err != nil {
		return img, err
	}
	return img, img.check(next - 1)
}

// check compares the parts of an image with each other.
func (img *Image) check(last uint64) error {
	if commit := img.HardState.GetCommit(); commit > last {
		return fmt.Errorf("%w: entries up to %d are decided, but the log ends at %d", ErrDamaged, commit, last)
	}
	return nil
}

// read is getProto with nil for what is not there.
func read[M proto.Message](b *bolt.Bucket, key []byte, m M) (none M, err error) {
	there, err := getProto(b, key, m)
	if err != nil || !there {
		return none, err
	}
	return m, nil
}
