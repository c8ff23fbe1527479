package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
)

const (
	fileName    = "watchdog.db"
	newFileName = "watchdog.db.new"
	lockName    = "watchdog.lock"

	lockWait = time.Second
)

var (
	// ErrLocked is the cause where another daemon uses the directory.
	ErrLocked = errors.New("it is in use by another pgpool")
	// ErrVolatile is the cause where the directory would not survive a reboot.
	ErrVolatile = errors.New("its content would not survive a reboot")
	// ErrDamaged is the cause where the file is not one of ours or has been damaged.
	ErrDamaged = errors.New("the file cannot be believed")
	// ErrBroken is the cause after an error that leaves unknown what the disk holds, such as a failed flush: the store must be closed.
	ErrBroken = errors.New("an earlier write failed in a way that does not heal")
)

// Batch is what one step of the machine wants kept.
type Batch struct {
	Meta      []byte            // nil: unchanged
	HardState *raftpb.HardState // nil: unchanged
	Entries   []*raftpb.Entry   // appended; stored ones with an index at or above the first one's are replaced
	Snapshot  *raftpb.Snapshot  // nil: none; entries up to its index are dropped, and all if they contradict it
	Reset     bool              // what is stored is set aside in a file beside, then the rest is applied to an empty store
}

// Image is everything stored. What was never saved is nil. The entries follow each other, and the snapshot if there is one.
type Image struct {
	Meta      []byte
	HardState *raftpb.HardState
	Snapshot  *raftpb.Snapshot
	Entries   []*raftpb.Entry
}

// Store is the open file. It is used by one goroutine.
type Store struct {
	dir    string
	lock   *os.File
	file   *os.File // of db, to be closed where bbolt cannot do it any more
	db     *bolt.DB // nil: to be opened again before the next use
	broken error    // why nothing is written any more
}

// Open opens the store in a directory and makes both if they are missing; the directory is readable for its owner only. The caller closes
// the store. Unless forced, a place that does not survive a reboot is refused: what a node swore must outlive its machine's power.
func Open(dir string, force bool) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("wd_state_directory \"%s\": %w", dir, err)
	}
	if err := prepare(dir, force); err != nil {
		return nil, fmt.Errorf("wd_state_directory \"%s\": %w", dir, err)
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return nil, fmt.Errorf("wd_state_directory \"%s\": %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close gives the file back. What was saved stays.
func (s *Store) Close() error {
	err := s.closeFile()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock = nil
	}
	if s.broken == nil {
		s.broken = fs.ErrClosed
	}
	return err
}

// Path is the file's name, for messages.
func (s *Store) Path() string { return filepath.Join(s.dir, fileName) }

// open opens the file, or makes it.
func (s *Store) open() error {
	if _, err := os.Stat(s.Path()); errors.Is(err, fs.ErrNotExist) {
		if err := create(s.dir); err != nil {
			return fmt.Errorf("creating %s: %w", s.Path(), err)
		}
	}
	return s.guarded(s.openFile)
}

func (s *Store) openFile() error {
	if err := inspect(s.Path()); err != nil {
		return err
	}
	db, err := bolt.Open(s.Path(), 0o600, &bolt.Options{
		Timeout: lockWait, FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			if s.file == nil { // later calls are for copies
				s.file = f
			}
			return f, err
		},
	})
	if err != nil {
		s.file = nil // closed by bbolt
		return cause(err)
	}
	s.db = db
	return db.View(ours)
}

// cause tells an error of the system from what the library found in the file.
func cause(err error) error {
	errno := syscall.Errno(0)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrLocked
	case errors.As(err, &errno):
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// create makes an empty file that has its name only when it is complete: a crash leaves none or all of it.
func create(dir string) error {
	path := filepath.Join(dir, newFileName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(format), db.Close()); err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(dir, fileName)); err != nil {
		return err
	}
	return syncDirectory(dir)
}

// closeFile closes bbolt's part, such that open can open it again.
func (s *Store) closeFile() error {
	db, file := s.db, s.file
	s.db, s.file = nil, nil
	switch {
	case db != nil:
		return db.Close()
	case file != nil:
		// Without the library's help the file stays mapped, and a mapping keeps the lock that closing would give back.
		return errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
	}
	return nil
}

// ready is called before each use: after an error the file is read anew, so that nothing rests on what memory holds of it.
func (s *Store) ready() error {
	if s.broken != nil {
		return fmt.Errorf("%s: %w: %w", s.Path(), ErrBroken, s.broken)
	}
	if s.db != nil {
		return nil
	}
	return s.open()
}

// guarded runs what reads or writes the file. The library answers a damaged file with a panic, or the kernel with a fault where it was
// cut short: both become errors, and the library's state is not used again.
func (s *Store) guarded(f func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
			s.db = nil // it may hold its own locks for ever: only the descriptor is closed
		}
		if err == nil {
			return
		}
		err = fmt.Errorf("%s: %w", s.Path(), err)
		if closeErr := s.closeFile(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
	}()
	return f()
}

// heals reports whether nothing was changed by a write that failed so: there was no room for it. After a failed flush, however, the kernel
// shows as written what may never reach the disk.
func heals(err error) bool {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		pathErr := (*fs.PathError)(nil)
		if errors.Is(err, full) && errors.As(err, &pathErr) {
			return true
		}
	}
	return strings.Contains(err.Error(), "file resize error") // bbolt drops the cause
}

func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(lockWait / 20) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		if time.Now().After(end) {
			err = ErrLocked
			break
		}
	}
	return nil, errors.Join(err, f.Close())
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
