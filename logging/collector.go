package logging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// rotateCause is why a new file is begun; log_truncate_on_rotation obeys it.
type rotateCause uint8

const (
	rotateAge rotateCause = iota
	rotateSize
	rotateAsked // reload, pcp_log_rotate
)

// collector writes the files of logging_collector.
type collector struct {
	now  func() time.Time
	plan sinkPlan
	file *os.File // nil: could not be opened
	path string
	size int64
	due  time.Time // next rotation by age; zero: none
}

// apply takes new parameters: it opens the first file, begins a new one if directory or pattern changed, and opens the same
// name again if the file was moved away (logrotate).
func (c *collector) apply(p sinkPlan) error {
	old := c.plan
	c.plan = p
	now := c.now()
	c.due = nextRotation(now, p.RotationAge)
	if c.file == nil || old.Directory != p.Directory || old.Filename != p.Filename {
		return c.open(c.name(now), false)
	}
	if c.moved() {
		return c.open(c.path, false)
	}
	return nil
}

func (c *collector) name(t time.Time) string {
	return filepath.Join(c.plan.Directory, c.plan.pattern.FormatString(t))
}

func (c *collector) moved() bool {
	here, err := c.file.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(c.path)
	return err != nil || !os.SameFile(here, there)
}

// write appends text after a rotation that is due. A rotation that failed is told in rotated; the old file goes on then.
func (c *collector) write(text []byte) (rotated, err error) {
	rotated = c.rotateIfDue()
	if c.file == nil {
		if rotated == nil {
			rotated = c.open(c.name(c.now()), false)
		}
		if c.file == nil {
			return nil, rotated
		}
	}
	n, err := c.file.Write(text)
	c.size += int64(n)
	return rotated, err
}

func (c *collector) rotateIfDue() error {
	if !c.due.IsZero() && !c.now().Before(c.due) {
		return c.rotate(rotateAge)
	}
	if c.plan.RotationSize > 0 && c.size >= c.plan.RotationSize {
		return c.rotate(rotateSize)
	}
	return nil
}

// rotate begins the file named by the pattern. Rotation by age names it after the moment it was due, so that names are
// regular. A name that is already in use is gone on with, unless it was moved away.
func (c *collector) rotate(cause rotateCause) error {
	now := c.now()
	named := now
	if cause == rotateAge {
		named = lastRotation(now, c.plan.RotationAge)
	}
	c.due = nextRotation(now, c.plan.RotationAge)
	path := c.name(named)
	if c.file != nil && path == c.path && (cause != rotateAsked || !c.moved()) {
		return nil
	}
	truncate := cause == rotateAge && c.plan.TruncateOnRotation && path != c.path
	return c.open(path, truncate)
}

// open puts path in the place of the current file, which stays if path cannot be opened.
func (c *collector) open(path string, truncate bool) error {
	f, err := openLog(path, c.plan.FileMode|0o200, truncate)
	if errors.Is(err, fs.ErrNotExist) { // somebody removed the directory
		_ = os.MkdirAll(filepath.Dir(path), directoryMode) // the next error tells
		f, err = openLog(path, c.plan.FileMode|0o200, truncate)
	}
	if err != nil {
		return fmt.Errorf("could not open log file %q: %w", path, err)
	}
	var size int64
	if st, err := f.Stat(); err == nil {
		size = st.Size()
	}
	c.close()
	c.file, c.path, c.size = f, path, size
	if c.plan.OnFile != nil {
		c.plan.OnFile(f)
	}
	return nil
}

// openLog opens path for appending. A new file gets exactly the given mode, whatever the umask.
func openLog(path string, mode fs.FileMode, truncate bool) (*os.File, error) {
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if f, err := os.OpenFile(path, flags|os.O_EXCL, mode); err == nil {
		_ = f.Chmod(mode) // it is ours, so only an odd file system refuses; the file is usable all the same
		return f, nil
	}
	if truncate {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, mode)
}

func (c *collector) close() {
	if c.file != nil {
		_ = c.file.Close() // every write was checked
		c.file = nil
	}
}

func (c *collector) untilRotation() time.Duration {
	if c.due.IsZero() {
		return noRotation
	}
	return max(c.due.Sub(c.now()), 0)
}

// lastRotation is the latest multiple of age, counted in local time, not after t: a day's file begins at midnight.
func lastRotation(t time.Time, age time.Duration) time.Time {
	if age <= 0 {
		return t
	}
	_, offset := t.Zone()
	local := t.UnixNano() + int64(offset)*int64(time.Second)
	return t.Add(-time.Duration(local % int64(age)))
}

func nextRotation(t time.Time, age time.Duration) time.Time {
	if age <= 0 {
		return time.Time{}
	}
	return lastRotation(t, age).Add(age)
}
