package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"gopgpool/cluster"
)

// memory is the file that outlives us: whom we obey.
type memory struct {
	Term cluster.Term `json:"term"`
}

// obey refuses a term below the highest one that was ever obeyed here, and remembers a higher one on disk before anything is done in
// its name. Several processes may do this for one server.
func (l *Local) obey(p *place, term cluster.Term) error {
	lock, err := p.openBeside("term.lock", os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("term: %w", err)
	}
	defer lock.Close()
	if err := flock(context.Background(), lock, termPatience, func() {}); err != nil {
		return fmt.Errorf("term: %w", err)
	}
	return p.owner.as(func() error { return obeyIn(l.stateFile(p), term) })
}

func (l *Local) stateFile(p *place) string {
	if l.StateFile != "" {
		return l.StateFile
	}
	return p.besides("term")
}

// Term is the highest term that was ever obeyed here.
func (l *Local) Term() (cluster.Term, error) {
	p, err := locate(l.DataDirectory)
	if err != nil {
		return 0, err
	}
	var m memory
	err = p.owner.as(func() error {
		m, err = readMemory(l.stateFile(&p))
		return err
	})
	return m.Term, err
}

func obeyIn(path string, term cluster.Term) error {
	known, err := readMemory(path)
	if err != nil {
		return fmt.Errorf("term: %w", err)
	}
	switch {
	case term < known.Term:
		return fmt.Errorf("term %d: %w: %d", term, cluster.ErrOldTerm, known.Term)
	case term == known.Term:
		return nil
	}
	text, err := json.Marshal(memory{Term: term})
	if err != nil {
		return err
	}
	if err := replaceFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("term: %w", err)
	}
	return nil
}

// readMemory: no file is no memory; one that cannot be read is an error, since obeying anybody then would be wrong.
func readMemory(path string) (m memory, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return memory{}, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return memory{}, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// replaceFile writes a file whole, or leaves the old one: it and its directory are on disk when it returns.
func replaceFile(path string, text []byte, mode os.FileMode) error {
	next := path + ".tmp"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir brings the names in a directory to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
