package logging

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// clock is a clock the test turns.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func collectorConfig(dir string) Config {
	c := Default()
	c.Collector, c.Directory, c.LinePrefix = true, dir, ""
	c.Filename = "%Y-%m-%d_%H%M.log"
	return c
}

func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(text)
	}
	return files
}

func TestCollectorRotation(t *testing.T) {
	start := time.Date(2024, 3, 9, 7, 5, 0, 0, time.UTC)
	type step struct {
		after time.Duration
		line  string // "" only lets the time pass
		conf  func(*Config)
		do    func(t *testing.T, o *Output, dir string)
	}
	tests := []struct {
		name   string
		conf   func(*Config)
		before map[string]string // files already there
		steps  []step
		want   map[string]string
	}{
		{
			"age is aligned to the clock, not to the start",
			func(c *Config) { c.RotationAge, c.RotationSize = time.Hour, 0 },
			nil,
			[]step{{0, "a", nil, nil}, {54 * time.Minute, "b", nil, nil}, {time.Minute, "c", nil, nil}, {150 * time.Minute, "d", nil, nil}},
			map[string]string{"2024-03-09_0705.log": "LOG:  a\nLOG:  b\n", "2024-03-09_0800.log": "LOG:  c\n", "2024-03-09_1000.log": "LOG:  d\n"},
		},
		{
			"no age",
			func(c *Config) { c.RotationAge, c.RotationSize = 0, 0 },
			nil,
			[]step{{0, "a", nil, nil}, {1000 * time.Hour, "b", nil, nil}},
			map[string]string{"2024-03-09_0705.log": "LOG:  a\nLOG:  b\n"},
		},
		{
			"size",
			func(c *Config) { c.RotationSize = 16 },
			nil,
			[]step{{0, "a", nil, nil}, {0, "b", nil, nil}, {time.Minute, "c", nil, nil}, {time.Minute, "d", nil, nil}},
			map[string]string{"2024-03-09_0705.log": "LOG:  a\nLOG:  b\n", "2024-03-09_0706.log": "LOG:  c\nLOG:  d\n"},
		},
		{
			"size, but the pattern has no new name: goes on",
			func(c *Config) { c.RotationSize, c.TruncateOnRotation, c.Filename = 1, true, "x.log" },
			nil,
			[]step{{0, "a", nil, nil}, {0, "b", nil, nil}},
			map[string]string{"x.log": "LOG:  a\nLOG:  b\n"},
		},
		{
			"the size of a file found counts",
			func(c *Config) { c.RotationSize = 10 },
			map[string]string{"2024-03-09_0705.log": "0123456789\n"},
			[]step{{time.Minute, "a", nil, nil}},
			map[string]string{"2024-03-09_0705.log": "0123456789\n", "2024-03-09_0706.log": "LOG:  a\n"},
		},
		{
			"append without log_truncate_on_rotation",
			func(c *Config) { c.Filename, c.RotationAge = "%H.log", time.Hour },
			map[string]string{"07.log": "old\n", "08.log": "old\n"},
			[]step{{0, "a", nil, nil}, {time.Hour, "b", nil, nil}},
			map[string]string{"07.log": "old\nLOG:  a\n", "08.log": "old\nLOG:  b\n"},
		},
		{
			"log_truncate_on_rotation truncates by age, not at the start",
			func(c *Config) { c.Filename, c.RotationAge, c.TruncateOnRotation = "%H.log", time.Hour, true },
			map[string]string{"07.log": "old\n", "08.log": "old\n"},
			[]step{{0, "a", nil, nil}, {time.Hour, "b", nil, nil}},
			map[string]string{"07.log": "old\nLOG:  a\n", "08.log": "LOG:  b\n"},
		},
		{
			"log_truncate_on_rotation does not truncate by size",
			func(c *Config) { c.RotationSize, c.TruncateOnRotation = 1, true },
			map[string]string{"2024-03-09_0706.log": "old\n"},
			[]step{{0, "a", nil, nil}, {time.Minute, "b", nil, nil}},
			map[string]string{"2024-03-09_0705.log": "LOG:  a\n", "2024-03-09_0706.log": "old\nLOG:  b\n"},
		},
		{
			"a new log_filename takes effect at once",
			nil, nil,
			[]step{{0, "a", nil, nil}, {0, "b", func(c *Config) { c.Filename = "new.log" }, nil}},
			map[string]string{"2024-03-09_0705.log": "LOG:  a\n", "new.log": "LOG:  b\n"},
		},
		{
			"a reload without a change keeps the file",
			nil, nil,
			[]step{{0, "a", nil, nil}, {time.Minute, "b", func(*Config) {}, nil}},
			map[string]string{"2024-03-09_0705.log": "LOG:  a\nLOG:  b\n"},
		},
		{
			"a reload opens a file moved away",
			nil, nil,
			[]step{{0, "a", nil, nil}, {time.Minute, "b", func(*Config) {}, func(t *testing.T, _ *Output, dir string) {
				if err := os.Rename(filepath.Join(dir, "2024-03-09_0705.log"), filepath.Join(dir, "moved")); err != nil {
					t.Fatal(err)
				}
			}}},
			map[string]string{"moved": "LOG:  a\n", "2024-03-09_0705.log": "LOG:  b\n"},
		},
		{
			"rotation on request",
			nil, nil,
			[]step{{0, "a", nil, nil}, {time.Minute, "b", nil, func(t *testing.T, o *Output, _ string) {
				if err := o.Rotate(); err != nil {
					t.Error(err)
				}
			}}},
			map[string]string{"2024-03-09_0705.log": "LOG:  a\n", "2024-03-09_0706.log": "LOG:  b\n"},
		},
		{
			"the directory was removed",
			func(c *Config) { c.RotationSize = 1 }, nil,
			[]step{{0, "a", nil, nil}, {time.Minute, "b", nil, func(t *testing.T, _ *Output, dir string) {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}}},
			map[string]string{"2024-03-09_0706.log": "LOG:  b\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.before {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c := collectorConfig(dir)
			var stderr lockedBuffer
			c.Writer = &stderr
			if tt.conf != nil {
				tt.conf(&c)
			}
			clk := &clock{start}
			o, err := newOutput(c, clk.now)
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			for _, s := range tt.steps {
				clk.t = clk.t.Add(s.after)
				if s.do != nil {
					s.do(t, o, dir)
				}
				if s.conf != nil {
					s.conf(&c)
					if err := o.Configure(c); err != nil {
						t.Fatal(err)
					}
				}
				o.Logger().Log(Event{Severity: Log, Message: s.line})
			}
			if got := readDir(t, dir); !maps.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if stderr.String() != "" {
				t.Errorf("on standard error: %q", stderr.String())
			}
		})
	}
}

func TestRotationWithoutLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := collectorConfig(dir)
		c.RotationAge = time.Hour
		o := newTestOutput(t, c)
		stop := runOutput(o)
		time.Sleep(70 * time.Minute) // virtual, and one full hour also where local time is off by half of one
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := len(readDir(t, dir)); got != 2 {
			t.Errorf("%d files after a rotation that was due", got)
		}
	})
}

func TestRotationInLocalTime(t *testing.T) {
	zone := time.FixedZone("", 5*3600+1800)
	tests := []struct {
		now  time.Time
		age  time.Duration
		want time.Time
	}{
		{time.Date(2024, 3, 9, 7, 5, 1, 5, zone), 24 * time.Hour, time.Date(2024, 3, 10, 0, 0, 0, 0, zone)},
		{time.Date(2024, 3, 9, 7, 5, 1, 5, zone), time.Hour, time.Date(2024, 3, 9, 8, 0, 0, 0, zone)},
		{time.Date(2024, 3, 9, 8, 0, 0, 0, zone), time.Hour, time.Date(2024, 3, 9, 9, 0, 0, 0, zone)},
		{time.Date(2024, 3, 9, 8, 0, 0, 0, zone), 0, time.Time{}},
	}
	for _, tt := range tests {
		if got := nextRotation(tt.now, tt.age); !got.Equal(tt.want) {
			t.Errorf("nextRotation(%v, %v) = %v, want %v", tt.now, tt.age, got, tt.want)
		}
	}
}

func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for i, tt := range []struct{ mode, want fs.FileMode }{{0o600, 0o600}, {0o644, 0o644}, {0o400, 0o600}, {0o666, 0o666}} {
		c := collectorConfig(dir)
		c.FileMode, c.Filename = tt.mode, fmt.Sprint(i)
		var told string
		c.OnFile = func(f *os.File) { told = f.Name() }
		newTestOutput(t, c)
		path := filepath.Join(dir, c.Filename)
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != tt.want {
			t.Errorf("log_file_mode %o gives %o, want %o", tt.mode, st.Mode(), tt.want)
		}
		if told != path {
			t.Errorf("OnFile was told of %q", told)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("log_directory: %v, %v", st.Mode(), err)
	}
}

func TestUnusableFile(t *testing.T) {
	dir := t.TempDir()
	c := collectorConfig(dir)
	var stderr lockedBuffer
	c.Writer, c.Filename = &stderr, "taken"
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := newTestOutput(t, c)
	o.Logger().Log(Event{Severity: Log, Message: "kept"})
	o.Logger().Log(Event{Severity: Log, Message: "kept"})
	got := stderr.String()
	if strings.Count(got, "could not open log file") != 1 || strings.Count(got, "LOG:  kept\n") != 2 {
		t.Errorf("got %q", got)
	}
	if err := os.Remove(filepath.Join(dir, "taken")); err != nil {
		t.Fatal(err)
	}
	o.Logger().Log(Event{Severity: Log, Message: "again"})
	if got := readDir(t, dir)["taken"]; got != "LOG:  again\n" {
		t.Errorf("after the trouble: %q", got)
	}
}

func TestBadCollectorConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{
		{Stderr: true, Collector: true, Directory: file, Filename: "x"},
		{Stderr: true, Collector: true, Directory: filepath.Dir(file), Filename: "%!"},
		{Syslog: true, SyslogFacility: 8},
	} {
		if o, err := New(c); err == nil {
			o.Close()
			t.Errorf("accepted: %+v", c)
		}
	}
}

func TestRotateWithoutCollector(t *testing.T) {
	if err := newTestOutput(t, Default()).Rotate(); !errors.Is(err, ErrNoCollector) {
		t.Errorf("got %v", err)
	}
}

func TestCollectorOffByReload(t *testing.T) {
	c := collectorConfig(t.TempDir())
	var stderr lockedBuffer
	c.Writer = &stderr
	o := newTestOutput(t, c)
	c.Collector = false
	if err := o.Configure(c); err != nil {
		t.Fatal(err)
	}
	o.Logger().Log(Event{Severity: Log, Message: "x"})
	if stderr.String() != "LOG:  x\n" {
		t.Errorf("got %q", stderr.String())
	}
}
