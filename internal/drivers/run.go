package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gopgpool/internal/pgcluster"
)

// explained.txt is the list of differences that are right, each with its reason.
//
//go:embed explained.txt
var explainedText string

// matrix is a whole run: the lines of every driver in every setting.
type matrix struct {
	opts     options
	settings []setting
	drivers  []driver
	versions []string // of drivers
	lines    map[string]map[string]results
	mu       sync.Mutex // guards lines, and stdout
}

func run(ctx context.Context, opts options) (err error) {
	serverBin, err := pgcluster.FindBinaries("")
	if err != nil {
		return err
	}
	explained, err := parseExplanations(explainedText)
	if err != nil {
		return fmt.Errorf("explained.txt: %w", err)
	}
	m := &matrix{opts: opts, lines: map[string]map[string]results{}}
	m.choose(serverBin)
	if len(m.drivers) == 0 {
		return errors.New("no such driver")
	}
	for _, d := range m.drivers {
		m.versions = append(m.versions, versionOf(ctx, d))
	}
	s := &stage{opts: opts}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.build(ctx, m.settings); err != nil {
		return err
	}
	for _, one := range m.settings {
		if err := m.column(ctx, s, one, serverBin); err != nil {
			return errors.Join(err, m.keep(s))
		}
	}
	return errors.Join(m.judge(explained), m.keep(s))
}

func (m *matrix) keep(s *stage) error {
	if m.opts.keep == "" {
		return nil
	}
	return s.keepLogs(m.opts.keep)
}

// choose takes what the command line wants.
func (m *matrix) choose(serverBin string) {
	for i, one := range settings() {
		if i == 0 || m.opts.settings.MatchString(one.name) {
			m.settings = append(m.settings, one)
		}
	}
	for _, d := range fleet(m.opts.source, m.opts.built, serverBin) {
		if m.opts.drivers.MatchString(d.name) {
			m.drivers = append(m.drivers, d)
		}
	}
}

// column runs all drivers in one setting, some at a time.
func (m *matrix) column(ctx context.Context, s *stage, one setting, serverBin string) error {
	at, err := s.place(ctx, one)
	if err != nil {
		return err
	}
	m.lines[one.name] = map[string]results{}
	fmt.Printf("== %s\n", one.name)
	errs := make([]error, len(m.drivers))
	slots := make(chan struct{}, m.opts.jobs)
	var wg sync.WaitGroup
	for i, d := range m.drivers {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = m.cell(ctx, s, one, at, d, serverBin)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// neighboursEach is how many sessions share a pool with the client in transaction mode.
const neighboursEach = 3

func (m *matrix) cell(ctx context.Context, s *stage, one setting, at place, d driver, serverBin string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	database, err := s.database(ctx, at)
	if err != nil {
		return err
	}
	p := program{
		driver: d, env: at.environment(database), built: m.opts.built, server: serverBin, patience: m.opts.patience,
		tell: func(line string) {
			if m.opts.verbose {
				m.print("   %s, %s: %s", one.name, d.name, line)
			}
		},
	}
	var known []string
	if one.nodes > 0 {
		known = m.known(d)
	}
	var ns *neighbours
	if one.transactional() {
		ns = settle(ctx, at, database, neighboursEach)
	}
	begun := time.Now()
	got, err := p.runAll(ctx, m.opts.checks, known)
	took := time.Since(begun)
	if ns != nil {
		if lived := ns.leave(); lived != nil {
			got = append(got, result{"neighbours", failed, lived.Error()})
		}
	}
	m.mu.Lock()
	m.lines[one.name][d.name] = got
	m.mu.Unlock()
	m.print("%s, %s: %s in %.1f s", one.name, d.name, tally(got), took.Seconds())
	return err
}

func (m *matrix) print(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// known are the checks a driver has, after its direct run.
func (m *matrix) known(d driver) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lines[m.settings[0].name][d.name].checks()
}

func tally(rs results) string {
	counts := map[status]int{}
	for _, r := range rs {
		counts[r.status]++
	}
	return fmt.Sprintf("%d ok, %d failed, %d n/a", counts[ok], counts[failed], counts[missing])
}

// differences are all of them, in the order of settings and drivers.
func (m *matrix) differences() (found []difference) {
	for _, one := range m.settings[1:] {
		for _, d := range m.drivers {
			found = append(found, compare(one.name, d.name, m.lines[m.settings[0].name][d.name], m.lines[one.name][d.name])...)
		}
	}
	return found
}

// judge prints the differences, writes the table, and returns an error for what nothing explains: a difference, or a check that fails
// without us.
func (m *matrix) judge(explained []explanation) error {
	var errs []error
	for _, d := range m.drivers {
		direct := m.lines[m.settings[0].name][d.name]
		if len(direct) == 0 {
			errs = append(errs, fmt.Errorf("%s printed nothing", d.name))
		}
		for _, r := range direct {
			if r.status == failed {
				errs = append(errs, fmt.Errorf("%s fails directly: %s", d.name, r))
			}
		}
	}
	found := m.differences()
	unused := explain(found, explained)
	for _, d := range found {
		if d.reason != "" {
			fmt.Printf("explained: %s\n    because: %s\n", d, d.reason)
		}
	}
	for _, d := range unexplained(found) {
		errs = append(errs, errors.New(d.String()))
	}
	if m.opts.whole() {
		for _, e := range unused {
			errs = append(errs, fmt.Errorf("explained.txt explains what is not there: %s %s %s /%s/", e.setting, e.driver, e.check, e.through))
		}
	}
	if len(errs) == 0 {
		fmt.Printf("%d drivers, %d differences, all explained\n", len(m.drivers), len(found))
	}
	return errors.Join(append(errs, m.write(found))...)
}

func (m *matrix) write(found []difference) error {
	if m.opts.out == "" {
		return nil
	}
	old, err := os.ReadFile(m.opts.out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	frame, _, _ := strings.Cut(string(old), generatedMark)
	if err := os.MkdirAll(filepath.Dir(m.opts.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.opts.out, []byte(frame+generatedMark+"\n"+m.table(found)), 0o644)
}
