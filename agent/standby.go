package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gopgpool/cluster"
	"gopgpool/replication/conninfo"
)

// errRuns is a server that would have to be stopped first.
var errRuns = errors.New("the server runs")

// Promote makes a running standby a primary and returns when it is one (pg_ctl promote). A primary is one already.
func (l *Local) Promote(ctx context.Context, term cluster.Term) error {
	return l.act(ctx, term, "promotion", false, func(ctx context.Context, s *site) error {
		d, err := s.controlData(ctx, &s.place)
		if g := s.gang(); err != nil || d.state == stateProduction && g.running() {
			return err
		}
		limit := time.Hour
		if until, ok := ctx.Deadline(); ok {
			limit = max(time.Until(until), time.Second)
		}
		seconds := strconv.Itoa(int(limit.Seconds()))
		_, err = s.run(ctx, &s.place, task{program: "pg_ctl", args: []string{"promote", "-D", s.data, "-w", "-t", seconds}})
		return err
	})
}

// Standby makes a stopped server a standby of src at its next start: standby.signal is there, and primary_conninfo, primary_slot_name and
// recovery_target_timeline = 'latest' in postgresql.auto.conf. What the connection had before and src does not name stays.
func (l *Local) Standby(ctx context.Context, term cluster.Term, src cluster.Source) error {
	return l.act(ctx, term, "making it a standby", false, func(ctx context.Context, s *site) error {
		if err := s.stopped(ctx); err != nil {
			return err
		}
		info, err := s.leading(ctx, src)
		if err != nil {
			return err
		}
		return s.owner.as(func() error { return s.follow(s.data, info, src.SlotName) })
	})
}

// stopped refuses a server that runs; what is left of a dead one is killed.
func (s *site) stopped(ctx context.Context) error {
	if g := s.gang(); g.running() {
		return fmt.Errorf("%w (process %d)", errRuns, g.first.pid)
	}
	return s.sweep(ctx)
}

// leading is the server's primary_conninfo, changed so that it leads to src.
func (s *site) leading(ctx context.Context, src cluster.Source) (conninfo.Info, error) {
	text, err := s.setting(ctx, "primary_conninfo")
	if err != nil {
		return conninfo.Info{}, err
	}
	info, err := conninfo.Parse(text)
	if err != nil {
		return conninfo.Info{}, fmt.Errorf("primary_conninfo: %w", err)
	}
	if err := info.Follow(src); err != nil {
		return conninfo.Info{}, err
	}
	s.missing(&info)
	return info, nil
}

// setting asks the configuration files of a stopped server, with the arguments of its last start; "" where there is no configuration yet.
func (s *site) setting(ctx context.Context, name string) (string, error) {
	if there, err := s.exists(filepath.Join(s.data, "PG_VERSION")); err != nil || !there {
		return "", err
	}
	args, err := s.arguments()
	if err != nil {
		return "", err
	}
	text, err := s.run(ctx, &s.place, task{program: "postgres", args: append(args, "-C", name)})
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(text, "\n"), nil
}

// follow makes the server in dir a standby: the settings first, so that it never starts as one of somebody else.
func (p *place) follow(dir string, info conninfo.Info, slot string) error {
	path := filepath.Join(dir, autoConfName)
	text, err := readPlain(path, p.owner.uid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next, err := changeSettings(string(text), []setting{
		{"primary_conninfo", info.String()},
		{"primary_slot_name", slot},
		{"recovery_target_timeline", "latest"},
	})
	if err != nil {
		return err
	}
	if err := replaceFile(path, []byte(next), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, standbySignal), os.O_CREATE|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "recovery.signal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(dir))
}

// setting is a line of a configuration file.
type setting struct{ name, value string }

var errLineBreak = errors.New("a setting cannot hold a line break")

// changeSettings gives settings their values in the text of postgresql.auto.conf and leaves all others as they are.
func changeSettings(text string, settings []setting) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !assigns(line, settings) {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	for _, s := range settings {
		if strings.ContainsAny(s.value, "\r\n\x00") {
			return "", fmt.Errorf("%s: %w", s.name, errLineBreak)
		}
		fmt.Fprintf(&b, "%s = '%s'\n", s.name, strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s.value))
	}
	return b.String(), nil
}

// assigns reports whether a line is about one of the settings; names have no case.
func assigns(line string, settings []setting) bool {
	line = strings.TrimLeft(line, " \t")
	end := strings.IndexFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n='#", r) })
	if end < 0 {
		end = len(line)
	}
	for _, s := range settings {
		if strings.EqualFold(line[:end], s.name) {
			return true
		}
	}
	return false
}
