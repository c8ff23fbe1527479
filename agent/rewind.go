package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"gopgpool/cluster"
	"gopgpool/replication/conninfo"
)

// Rewind takes a stopped server back to where it and src parted (pg_rewind), then is Standby. A server that was not shut down cleanly is
// recovered first. cluster.ErrCannotRewind: only BaseBackup helps; other errors may be gone next time. src must have made a checkpoint since
// its promotion.
//
// Before the first change a mark is written that is removed at the very end: a rewind that was interrupted leaves a directory that is
// neither, and it is not started before BaseBackup has replaced it. Files that belong to this host and not to the database cluster
// (configuration, logs, certificates) are those from before.
func (l *Local) Rewind(ctx context.Context, term cluster.Term, src cluster.Source) error {
	return l.act(ctx, term, "rewind", false, func(ctx context.Context, s *site) error {
		if err := s.stopped(ctx); err != nil {
			return err
		}
		if broken, err := s.exists(s.mark()); err != nil || broken {
			return errors.Join(err, cannot(errBroken))
		}
		info, err := s.leading(ctx, src)
		if err != nil {
			return err
		}
		d, err := s.recovered(ctx)
		if err != nil {
			return err
		}
		needed, err := s.tryRewind(ctx, info, src, d.timeline)
		if err != nil {
			return err
		}
		if needed {
			return s.rewindNow(ctx, info, src)
		}
		return s.owner.as(func() error { return s.follow(s.data, info, src.SlotName) })
	})
}

func cannot(err error) error { return fmt.Errorf("%w: %w", cluster.ErrCannotRewind, err) }

var (
	errNoHints  = errors.New("it has neither wal_log_hints nor data checksums")
	errStandby  = errors.New("it has crashed as a standby")
	errOldTimes = errors.New("the source has made no checkpoint since its promotion")
)

// recovered has a server that can be rewound end its WAL properly, if it has not.
func (s *site) recovered(ctx context.Context) (controlData, error) {
	d, err := s.controlData(ctx, &s.place)
	switch {
	case err != nil:
		return d, err
	case !d.rewindable:
		return d, cannot(errNoHints)
	case d.state == stateShutDown, d.state == stateShutDownRecovery:
		return d, nil
	}
	for _, name := range []string{standbySignal, "recovery.signal"} {
		// It may not have replayed what makes it consistent, and the end of its WAL is not for it to say.
		if there, err := s.exists(s.data + "/" + name); err != nil || there {
			return d, errors.Join(err, cannot(errStandby))
		}
	}
	args, err := s.arguments()
	if err = errors.Join(err, s.dropStalePidFile()); err != nil {
		return d, err
	}
	// In single-user mode, with an empty input, a server recovers, makes a checkpoint and ends.
	args = append(append([]string{"--single"}, args...), "template1")
	if _, err := s.run(ctx, &s.place, task{program: "postgres", args: args, lock: s.lock}); err != nil {
		return d, judgeRewind(err)
	}
	return s.controlData(ctx, &s.place)
}

// tryRewind asks pg_rewind, without any change, whether it would work and whether there is anything to do.
func (s *site) tryRewind(ctx context.Context, info conninfo.Info, src cluster.Source, own cluster.Timeline) (needed bool, err error) {
	out, err := s.pgRewind(ctx, info, src, "--dry-run")
	if err != nil {
		return false, judgeRewind(err)
	}
	if strings.Contains(out, "same timeline") && src.Timeline != 0 && own != src.Timeline {
		return false, fmt.Errorf("%w: it still says timeline %d", errOldTimes, own)
	}
	return !strings.Contains(out, "no rewind required"), nil
}

// judgeRewind tells what will not go away from what may.
func judgeRewind(err error) error {
	var p *programError
	if !errors.As(err, &p) {
		return err
	}
	for _, passing := range []string{
		"connection to server", "could not connect", "permission denied", "No space left", "different systems", "Cannot allocate memory",
		"terminating connection", "server closed the connection", "authentication failed", "still being",
	} {
		if strings.Contains(p.output, passing) {
			return err
		}
	}
	return cannot(err)
}

// pgRewind runs pg_rewind.
func (s *site) pgRewind(ctx context.Context, info conninfo.Info, src cluster.Source, more ...string) (string, error) {
	where, secret := childConnection(info)
	where.Set("dbname", src.Database)
	if src.Database == "" {
		where.Set("dbname", "postgres")
	}
	args := append([]string{"--target-pgdata=" + s.data, "--source-server=" + where.String()}, more...)
	args = s.unsynced(args)
	return s.run(ctx, &s.place, task{program: "pg_rewind", args: args, secret: secret, lock: s.lock})
}

func (l *Local) unsynced(args []string) []string {
	if l.noSync {
		return append(args, "--no-sync")
	}
	return args
}

// childConnection takes out of a standby's connection what a program beside it must not have: passwords, which others could see among
// its arguments, and the name, by which a primary might take it for its synchronous standby.
func childConnection(info conninfo.Info) (where conninfo.Info, secret string) {
	where, secret = info, info.Get("password")
	for _, key := range []string{"password", "sslpassword", "application_name", "dbname", "replication", "options"} {
		where.Set(key, "")
	}
	return where, secret
}

// rewindNow changes the data directory.
func (s *site) rewindNow(ctx context.Context, info conninfo.Info, src cluster.Source) error {
	if err := s.owner.as(s.keep); err != nil {
		return errors.Join(err, s.settle())
	}
	if err := s.owner.as(func() error { return writeMark(s.mark()) }); err != nil {
		return errors.Join(err, s.settle())
	}
	if _, err := s.pgRewind(ctx, info, src); err != nil {
		return cannot(err)
	}
	return s.owner.as(func() error {
		if err := s.bring(s.besides("kept"), true); err != nil {
			return err
		}
		if err := s.follow(s.data, info, src.SlotName); err != nil {
			return err
		}
		return removeMark(s.mark(), s.beside)
	})
}

const markText = "pg_rewind was begun in the data directory and has not ended. The server must not be started before a base backup.\n"

func writeMark(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(markText)
	return errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}

func removeMark(path, dir string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(dir)
}
