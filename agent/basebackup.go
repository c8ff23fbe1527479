package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"gopgpool/cluster"
	"gopgpool/replication/conninfo"
)

// BaseBackup replaces a stopped server by a copy of src (pg_basebackup) that is its standby. The copy is received beside the data
// directory, which stays as it is until the copy is complete and is removed then; both must fit on the file system. An interrupted one, or
// one that did not fit, is removed and changes nothing. Files that belong to this host and not to the database cluster (configuration,
// logs, certificates) go on into the copy.
//
// Refused are a data directory that is a mount point or has tablespaces or WAL elsewhere: those could not be exchanged in one step.
func (l *Local) BaseBackup(ctx context.Context, term cluster.Term, src cluster.Source) error {
	return l.act(ctx, term, "base backup", false, func(ctx context.Context, s *site) error {
		if err := s.stopped(ctx); err != nil {
			return err
		}
		if err := s.owner.as(s.bringKept); err != nil {
			return err
		}
		if err := s.owner.as(s.replaceable); err != nil {
			return err
		}
		info, err := s.leading(ctx, src)
		if err != nil {
			return err
		}
		if err := s.receive(ctx, info, src); err != nil {
			return errors.Join(err, s.owner.as(func() error { return s.do(dropNew) }))
		}
		return s.owner.as(s.exchange)
	})
}

// bringKept brings back what an interrupted rewind has left aside.
func (s *site) bringKept() error {
	f, err := s.found()
	if err != nil || !f.kept || !f.data {
		return err
	}
	return s.do(bringKept)
}

var (
	errTablespaces  = errors.New("it has tablespaces")
	errWALElsewhere = errors.New("pg_wal is a link or a mount point")
	errMountPoint   = errors.New("the data directory is a mount point")
)

// replaceable refuses a directory that cannot be exchanged by renaming.
func (s *site) replaceable() error {
	var at, above syscall.Stat_t
	err := syscall.Stat(s.data, &at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err = errors.Join(err, syscall.Stat(s.beside, &above)); err != nil {
		return err
	}
	if at.Dev != above.Dev {
		return errMountPoint
	}
	links, err := os.ReadDir(filepath.Join(s.data, "pg_tblspc"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(links) > 0 {
		return errTablespaces
	}
	var wal syscall.Stat_t
	err = syscall.Lstat(filepath.Join(s.data, "pg_wal"), &wal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && (wal.Mode&syscall.S_IFMT == syscall.S_IFLNK || wal.Dev != at.Dev) {
		return errWALElsewhere
	}
	return err
}

// receive makes a complete standby beside the data directory.
func (s *site) receive(ctx context.Context, info conninfo.Info, src cluster.Source) error {
	fresh := s.besides("new")
	where, secret := childConnection(info)
	args := []string{"--pgdata=" + fresh, "--dbname=" + where.String(), "--wal-method=stream", "--checkpoint=fast", "--no-password"}
	if src.SlotName != "" {
		args = append(args, "--slot="+src.SlotName)
	}
	if _, err := s.run(ctx, &s.place, task{program: "pg_basebackup", args: s.unsynced(args), secret: secret, lock: s.lock}); err != nil {
		return err
	}
	if err := s.sameSystem(ctx, fresh); err != nil {
		return err
	}
	return s.owner.as(func() error {
		// Without the signal it would be a primary: it must be a standby before it can take any place.
		if err := s.carryAutoConf(fresh); err != nil {
			return err
		}
		if err := s.follow(fresh, info, src.SlotName); err != nil {
			return err
		}
		return errors.Join(os.Rename(fresh, s.besides("ready")), syncDir(s.beside))
	})
}

// sameSystem refuses a copy of another database cluster than the one it is to replace.
func (s *site) sameSystem(ctx context.Context, fresh string) error {
	if there, err := s.exists(filepath.Join(s.data, "global", "pg_control")); err != nil || !there {
		return err
	}
	before, err := s.controlData(ctx, &s.place)
	if err != nil {
		return nil //nolint:nilerr // it is destroyed, so nothing is known of it
	}
	next := s.place
	next.data = fresh
	after, err := s.controlData(ctx, &next)
	if err != nil {
		return err
	}
	if before.systemID != after.systemID {
		return fmt.Errorf("the source's system identifier is %d and not %d: it is another database cluster", after.systemID, before.systemID)
	}
	return nil
}

// carryAutoConf copies postgresql.auto.conf of this host into the copy.
func (s *site) carryAutoConf(fresh string) error {
	text, err := readPlain(filepath.Join(s.data, autoConfName), s.owner.uid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(fresh, autoConfName), text, 0o600)
}

// exchange puts the copy into the place of the data directory.
func (s *site) exchange() error {
	f, err := s.found()
	if err != nil {
		return err
	}
	if f.data {
		if err := s.do(setAside); err != nil {
			return err
		}
	}
	if err := s.do(moveIn); err != nil {
		return err
	}
	if err := removeMark(s.mark(), s.beside); err != nil || !f.data {
		return err
	}
	return s.do(bringOld)
}
