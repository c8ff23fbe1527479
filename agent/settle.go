package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A base backup is made beside the data directory and takes its place when it is complete. Names beside:
//
//	new    being received                      an interrupted one is removed
//	ready  received, a standby of its source   takes the place of the data directory
//	old    the data directory before           what belongs to this host goes on into its successor, the rest is removed
//	kept   what belongs to this host, while pg_rewind works: it would be replaced by the source's
//
// Each step is one rename, so a directory that is found tells which step is the next one.

// step is one of them.
type step uint8

const (
	dropNew    step = iota // remove new
	setAside               // data becomes old
	moveIn                 // ready becomes data
	bringOld               // what belongs to this host from old to data, then remove old
	bringKept              // likewise from kept
	restoreOld             // old becomes data again
)

// found is what is there.
type found struct {
	data, fresh, ready, old, kept bool
	marked                        bool // a rewind has not ended
}

// steps are those that end what was begun before. kept stays where a rewind has not ended: the base backup that must follow brings it.
func steps(f found) []step {
	var list []step
	if f.fresh {
		list = append(list, dropNew)
	}
	if f.kept && !f.marked && f.data {
		list = append(list, bringKept)
	}
	switch {
	case f.ready && f.data && !f.old:
		list = append(list, setAside, moveIn, bringOld)
	case f.ready && !f.data && f.old:
		list = append(list, moveIn, bringOld)
	case f.ready && !f.data:
		list = append(list, moveIn)
	case f.ready: // data and old are there: an older step has not ended, it comes first
		list = append(list, bringOld, setAside, moveIn, bringOld)
	case f.old && f.data:
		list = append(list, bringOld)
	case f.old:
		list = append(list, restoreOld)
	}
	return list
}

// settle ends what was begun before. Nobody else acts meanwhile.
func (s *site) settle() error {
	return s.owner.as(func() error {
		f, err := s.found()
		if err != nil {
			return err
		}
		for _, one := range steps(f) {
			if err := s.do(one); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *place) besides(name string) string { return filepath.Join(p.beside, name) }

func (p *place) found() (f found, err error) {
	for path, there := range map[string]*bool{
		p.data: &f.data, p.besides("new"): &f.fresh, p.besides("ready"): &f.ready, p.besides("old"): &f.old,
		p.besides("kept"): &f.kept, p.mark(): &f.marked,
	} {
		_, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		*there = err == nil
	}
	return f, nil
}

// do takes one step; the names are on disk when it returns.
func (p *place) do(one step) error {
	var err error
	switch one {
	case dropNew:
		return os.RemoveAll(p.besides("new"))
	case setAside:
		err = os.Rename(p.data, p.besides("old"))
	case moveIn:
		err = os.Rename(p.besides("ready"), p.data)
	case restoreOld:
		err = os.Rename(p.besides("old"), p.data)
	case bringOld:
		return p.bring(p.besides("old"), false)
	case bringKept:
		return p.bring(p.besides("kept"), true)
	}
	return errors.Join(err, syncDir(filepath.Dir(p.data)), syncDir(p.beside))
}

// bring moves what belongs to this host from a directory into the data directory and removes the directory. It can be begun again.
func (p *place) bring(from string, autoConf bool) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !ofHost(name) || name == autoConfName && !autoConf {
			continue
		}
		to := filepath.Join(p.data, name)
		if err := errors.Join(os.RemoveAll(to), os.Rename(filepath.Join(from, name), to)); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(p.data), os.RemoveAll(from))
}

// keep moves what belongs to this host out of the data directory.
func (p *place) keep() error {
	kept := p.besides("kept")
	if err := os.Mkdir(kept, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(p.data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ofHost(e.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(p.data, e.Name()), filepath.Join(kept, e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(kept), syncDir(p.data))
}

// ofHost reports whether an entry of a data directory belongs to its host and not to the database cluster: configuration files, logs,
// certificates, whatever an administrator has put there.
func ofHost(name string) bool {
	switch {
	case name == "postmaster.opts":
		return true
	case name == "base", name == "global", name == "PG_VERSION", name == "postmaster.pid", name == "current_logfiles", name == "promote",
		strings.HasPrefix(name, "pg_") && !slices.Contains([]string{"pg_hba.conf", "pg_ident.conf"}, name),
		strings.HasPrefix(name, "pgsql_tmp"), strings.HasPrefix(name, "backup_label"), strings.HasPrefix(name, "tablespace_map"),
		strings.HasPrefix(name, "backup_manifest"), strings.HasSuffix(name, ".signal"), strings.HasSuffix(name, ".tmp"):
		return false
	}
	return true
}

const autoConfName = "postgresql.auto.conf"
