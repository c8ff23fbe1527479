package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/conf"
	"gopgpool/logging"
)

// hbaFiles is a directory with a pool_hba.conf and, unless it is empty, a pool_ident.conf.
func hbaFiles(t *testing.T, hba, ident string) (p *parts, cfg *conf.Config, log func() string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("conf.d/b.conf", "local b all trust\n")
	write("conf.d/a.conf", "local a all trust\n")
	write("conf.d/c.conf/x.conf", "nonsense\n")
	cfg = conf.Default()
	cfg.Auth.EnablePoolHba, cfg.Auth.PoolPasswd = true, ""
	cfg.Auth.IdentFile = filepath.Join(dir, "pool_ident.conf")
	if ident != "" {
		write("pool_ident.conf", ident)
	}
	c := logging.Default()
	var text bytes.Buffer
	c.Writer = &text
	out, err := logging.New(c)
	if err != nil {
		t.Fatal(err)
	}
	log = func() string {
		out.Close()
		return text.String()
	}
	return &parts{opts: Options{HbaFile: write("pool_hba.conf", hba), KeyFile: filepath.Join(dir, "none")}, log: out.Logger()}, cfg, log
}

// TestHBAFiles: a broken file keeps the program from starting, and at a reload the old rules in force: the test has no proxy
// that could be given new ones.
func TestHBAFiles(t *testing.T) {
	for name, c := range map[string]struct {
		hba, ident string
		records    int
		want       []string // of the log, if the files are refused
	}{
		"no maps":            {"local all all trust\n", "", 1, nil},
		"maps":               {"local all all peer map=m\n", "m a b\n", 1, nil},
		"directory":          {"include_dir conf.d\nlocal all all md5\n", "", 3, nil},
		"map without a file": {"local all all peer map=m\n", "", 0, []string{"ERROR: ", "pool_ident.conf"}},
		"bad rule":           {"local all all nothing\n", "", 0, []string{`invalid authentication method "nothing" (line 1 of `}},
		"bad map":            {"local all all trust\n", "m a\n", 0, []string{`missing entry at end of line (line 1 of `}},
		"both":               {"x\n", "m a\n", 0, []string{"missing entry at end of line", `invalid connection type "x"`}},
	} {
		t.Run(name, func(t *testing.T) {
			p, cfg, log := hbaFiles(t, c.hba, c.ident)
			rules, err := p.openAuth(cfg)
			if rules.Len() != c.records || (err != nil) != (c.want != nil) {
				t.Fatalf("%d records, %v\n%s", rules.Len(), err, log())
			}
			if c.want == nil {
				return
			}
			p.reloadAuth(cfg, cfg)
			text := log()
			for _, want := range append(c.want, "the old rules stay in force") {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
}
