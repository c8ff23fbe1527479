package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExchangeSurvivesAnyInterruption lets the exchange end after each number of its steps, and in the middle of the one that moves
// files one by one: settling always ends with one complete directory that has what belongs to this host.
func TestExchangeSurvivesAnyInterruption(t *testing.T) {
	for cut := range 4 {
		for _, torn := range []bool{false, true} {
			p := exchangeable(t)
			for _, one := range []step{setAside, moveIn, bringOld}[:min(cut, 3)] {
				if torn && one == bringOld { // one file has moved, another one is removed and not there yet
					check(t, os.RemoveAll(filepath.Join(p.data, "a.conf")))
					check(t, os.Rename(filepath.Join(p.besides("old"), "a.conf"), filepath.Join(p.data, "a.conf")))
					check(t, os.RemoveAll(filepath.Join(p.data, "conf.d")))
					break
				}
				check(t, p.do(one))
			}
			s := &site{Local: &Local{}, place: p}
			for range 2 { // the second time there is nothing to do
				check(t, s.settle())
			}
			want := "PG_VERSION=new a.conf=old conf.d/x=old postgresql.auto.conf=new"
			if got := content(t, p.data); got != want {
				t.Errorf("after %d steps, torn %t: %s", cut, torn, got)
			}
			if got := content(t, p.beside); got != "" {
				t.Errorf("after %d steps: left beside: %s", cut, got)
			}
		}
	}
}

// exchangeable is a directory and its complete successor.
func exchangeable(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	p := place{data: filepath.Join(dir, "main"), beside: filepath.Join(dir, "main.pgpool")}
	p.owner.uid, p.owner.gid = uint32(os.Geteuid()), uint32(os.Getegid())
	for path, text := range map[string]string{
		"main/PG_VERSION": "old", "main/a.conf": "old", "main/conf.d/x": "old", "main/postgresql.auto.conf": "old",
		"main.pgpool/ready/PG_VERSION": "new", "main.pgpool/ready/a.conf": "new", "main.pgpool/ready/conf.d/x": "new",
		"main.pgpool/ready/conf.d/y": "new", "main.pgpool/ready/postgresql.auto.conf": "new",
	} {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700))
		check(t, os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600))
	}
	return p
}

// content lists the files below dir with their texts.
func content(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, strings.TrimPrefix(path, dir+"/")+"="+string(text))
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestSteps(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    found
		want string
	}{
		{"nothing", found{data: true}, ""},
		{"a backup was interrupted", found{data: true, fresh: true}, "drop"},
		{"an old one is left", found{data: true, old: true}, "bring-old"},
		{"between the two renames without a successor", found{old: true}, "restore"},
		{"a rewind put files aside and did not begin", found{data: true, kept: true}, "bring-kept"},
		{"a rewind was interrupted", found{data: true, kept: true, marked: true}, ""},
		{"all at once", found{data: true, fresh: true, ready: true, old: true}, "drop bring-old aside in bring-old"},
		{"the first copy", found{ready: true}, "in"},
	} {
		names := []string{"drop", "aside", "in", "bring-old", "bring-kept", "restore"}
		var got []string
		for _, one := range steps(tc.f) {
			got = append(got, names[one])
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}
