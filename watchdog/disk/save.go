package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Save stores a batch; it is on the disk when Save returns nil. After an error the old content is there, and a full disk may have room at
// the next call; an error that is ErrBroken stays. The batch is not kept.
func (s *Store) Save(b Batch) error {
	if err := s.ready(); err != nil {
		return err
	}
	if b.Reset {
		if err := s.setAside(); err != nil {
			return fmt.Errorf("setting the watchdog's old state aside: %w", err)
		}
	}
	return s.guarded(func() error {
		var refused error // by us, before anything was written
		err := s.db.Update(func(tx *bolt.Tx) error {
			refused = apply(tx, b)
			return refused
		})
		if err != nil && refused == nil && !heals(err) {
			s.broken = err
		}
		return err
	})
}

func apply(tx *bolt.Tx, b Batch) error {
	if b.Reset {
		if err := empty(tx); err != nil {
			return err
		}
	}
	l, err := openLog(tx)
	if err != nil {
		return err
	}
	if b.Meta != nil {
		if err := put(l.state, metaKey, b.Meta); err != nil {
			return err
		}
	}
	if b.HardState != nil {
		if err := putProto(l.state, hardStateKey, b.HardState); err != nil {
			return err
		}
	}
	if b.Snapshot != nil {
		if err := l.putSnapshot(b.Snapshot); err != nil {
			return err
		}
	}
	if err := l.append(b.Entries); err != nil {
		return err
	}
	return put(l.state, sealKey, seal(l.state, l.first, l.last))
}

func empty(tx *bolt.Tx) error {
	for _, name := range [][]byte{stateBucket, logBucket} {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
	}
	return format(tx)
}

// log is what a transaction works on. Its bounds are read once: the library's cursors can turn in circles over pages that were emptied in
// the same transaction.
type log struct {
	state, entries *bolt.Bucket
	snapshot       *raftpb.Snapshot // nil: none
	first, last    uint64           // of the entries; last = first - 1: none
}

func openLog(tx *bolt.Tx) (*log, error) {
	l := &log{state: tx.Bucket(stateBucket), entries: tx.Bucket(logBucket)}
	snapshot, err := read(l.state, snapshotKey, &raftpb.Snapshot{})
	if err != nil {
		return nil, err
	}
	l.snapshot = snapshot
	l.first, l.last = l.decided()+1, l.decided()
	c := l.entries.Cursor()
	if k, _ := c.First(); len(k) == indexLen {
		l.first = binary.BigEndian.Uint64(k)
	}
	if k, _ := c.Last(); len(k) == indexLen {
		l.last = binary.BigEndian.Uint64(k)
	}
	if l.first != l.decided()+1 || l.last < l.decided() {
		return nil, fmt.Errorf("%w: entries %d to %d follow snapshot %d", ErrDamaged, l.first, l.last, l.decided())
	}
	if sealed, err := get(l.state, sealKey); err != nil {
		return nil, err
	} else if !bytes.Equal(sealed, seal(l.state, l.first, l.last)) {
		return nil, fmt.Errorf("%w: records are missing", ErrDamaged)
	}
	return l, nil
}

// decided is the index of the snapshot, 0 without one.
func (l *log) decided() uint64 { return l.snapshot.GetMetadata().GetIndex() }

// putSnapshot replaces the snapshot and drops the entries it stands for. Where the log has another entry than the snapshot at its index,
// what follows that entry never was decided and contradicts it: the whole log goes.
func (l *log) putSnapshot(snapshot *raftpb.Snapshot) error {
	index, term := snapshot.GetMetadata().GetIndex(), snapshot.GetMetadata().GetTerm()
	if index < l.decided() {
		return fmt.Errorf("snapshot %d is older than the stored one, %d", index, l.decided())
	}
	agrees, err := l.holds(index, term)
	if err != nil {
		return err
	}
	end := index
	if !agrees {
		end = l.last
	}
	if err := l.drop(l.first, min(end, l.last)); err != nil {
		return err
	}
	l.snapshot, l.first, l.last = snapshot, index+1, max(index, l.last)
	if !agrees {
		l.last = index
	}
	return putProto(l.state, snapshotKey, snapshot)
}

// holds reports whether the entry at an index, or the snapshot there, has this term.
func (l *log) holds(index, term uint64) (bool, error) {
	if l.snapshot != nil && l.decided() == index {
		return l.snapshot.GetMetadata().GetTerm() == term, nil
	}
	entry := &raftpb.Entry{}
	there, err := getProto(l.entries, indexKey(index), entry)
	return there && entry.GetTerm() == term, err
}

// append puts entries at their indexes, in place of everything from the first of them on. It refuses what would leave a gap, or change
// what the snapshot says was decided.
func (l *log) append(entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].GetIndex()
	if first <= l.decided() || first > l.last+1 {
		return fmt.Errorf("entry %d does not follow the log, which has snapshot %d and ends at %d", first, l.decided(), l.last)
	}
	if err := l.drop(first, l.last); err != nil {
		return err
	}
	for i, entry := range entries {
		if entry.GetIndex() != first+uint64(i) {
			return fmt.Errorf("entry %d follows entry %d", entry.GetIndex(), first+uint64(i)-1)
		}
		if err := putProto(l.entries, indexKey(entry.GetIndex()), entry); err != nil {
			return err
		}
	}
	l.last = first + uint64(len(entries)) - 1
	return nil
}

// drop deletes entries, both ends included. One that is not there is a hole in the file.
func (l *log) drop(from, to uint64) error {
	for index := from; index <= to; index++ {
		if l.entries.Get(indexKey(index)) == nil {
			return fmt.Errorf("%w: entry %d is missing", ErrDamaged, index)
		}
		if err := l.entries.Delete(indexKey(index)); err != nil {
			return err
		}
	}
	return nil
}

func entryOf(key, record []byte) (*raftpb.Entry, error) {
	value, err := content(key, record)
	if err != nil {
		return nil, err
	}
	entry := &raftpb.Entry{}
	if err := proto.Unmarshal(value, entry); err != nil {
		return nil, fmt.Errorf("%w: entry %x: %w", ErrDamaged, key, err)
	}
	return entry, nil
}
