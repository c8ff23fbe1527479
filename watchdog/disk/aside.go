package disk

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Files set aside are named watchdog-<UTC time>-<mark of the meta record>.aside: those of one identity have the same mark. Each is a whole
// store; renamed to watchdog.db in a directory of its own it can be read.
const (
	asidePrefix = "watchdog-"
	asideSuffix = ".aside"
	asideTime   = "20060102T150405.000000000Z"
	asideKept   = 5
)

// setAside copies the file, unless it is empty. The copy has its name only when it is complete and on the disk.
func (s *Store) setAside() error {
	if err := s.prune(asideKept - 1); err != nil {
		return err
	}
	path := filepath.Join(s.dir, newFileName)
	name := ""
	err := s.guarded(func() error {
		return s.db.View(func(tx *bolt.Tx) (err error) {
			if name = asideName(tx, time.Now()); name == "" {
				return nil
			}
			return tx.CopyFile(path, 0o600)
		})
	})
	if err != nil {
		return errors.Join(err, os.RemoveAll(path))
	}
	if name == "" {
		return nil
	}
	if err := syncFile(path); err != nil {
		return errors.Join(err, os.RemoveAll(path))
	}
	if err := os.Rename(path, filepath.Join(s.dir, name)); err != nil {
		return err
	}
	return syncDirectory(s.dir)
}

// asideName is "" where nothing is stored.
func asideName(tx *bolt.Tx, now time.Time) string {
	state := tx.Bucket(stateBucket)
	if k, _ := tx.Bucket(logBucket).Cursor().First(); k == nil && state.Get(metaKey) == nil && state.Get(hardStateKey) == nil &&
		state.Get(snapshotKey) == nil {
		return ""
	}
	sum := sha256.Sum256(state.Get(metaKey))
	return fmt.Sprintf("%s%s-%x%s", asidePrefix, now.UTC().Format(asideTime), sum[:4], asideSuffix)
}

// prune removes the oldest files that were set aside. It is done first, where the disk is full they make room.
func (s *Store) prune(keep int) error {
	files, err := s.aside()
	if err != nil {
		return err
	}
	for len(files) > keep {
		if err := os.Remove(filepath.Join(s.dir, files[0])); err != nil {
			return err
		}
		files = files[1:]
	}
	return nil
}

// aside lists the files set aside, the oldest first.
func (s *Store) aside() (names []string, err error) {
	files, err := os.ReadDir(s.dir) // in the order of their names
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), asidePrefix) && strings.HasSuffix(f.Name(), asideSuffix) {
			names = append(names, f.Name())
		}
	}
	return names, nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
