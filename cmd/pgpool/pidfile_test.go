package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func TestWritePidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, []byte("99999999999999"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{1234567, 89} { // the longer one is truncated
		if err := writePidFile(path, pid); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != strconv.Itoa(pid)+"\x00" {
			t.Errorf("content %q", got)
		}
		if got, err := readPidFile(path); got != pid || err != nil {
			t.Errorf("read back %d, %v", got, err)
		}
	}
	fresh := path + ".new"
	if err := writePidFile(fresh, 1); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(fresh); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := writePidFile(filepath.Join(path, "x"), 1); err == nil {
		t.Error("written into a file as if it were a directory")
	}
}

func TestReadPidFile(t *testing.T) {
	for text, want := range map[string]int{
		"12\x00": 12, "12": 12, "12\n": 12, "12 13": 12, "007": 7,
		"": 0, "\x00": 0, "x": 0, "-5": 0, "0": 0, " 1": 0, "99999999999": 0,
	} {
		path := filepath.Join(t.TempDir(), "pid")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readPidFile(path)
		if got != want || errors.Is(err, errBadPidFile) != (want == 0) {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

// endedProcess returns the id of a process that has ended.
func endedProcess(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestCheckPidFile(t *testing.T) {
	child := startChild(t, "sleep", "100")
	for _, tt := range []struct {
		name string
		pid  int
		want pidState
	}{
		{"running", child.Process.Pid, pidAlive},
		{"ended", endedProcess(t), pidBogus},
		{"ourselves, from a former life of the container", os.Getpid(), pidBogus},
		{"our parent, likewise", os.Getppid(), pidBogus},
	} {
		path := filepath.Join(t.TempDir(), "pid")
		if err := writePidFile(path, tt.pid); err != nil {
			t.Fatal(err)
		}
		if got, pid, err := checkPidFile(path); got != tt.want || pid != tt.pid || err != nil {
			t.Errorf("%s: %d, %d, %v", tt.name, got, pid, err)
		}
	}
	path := filepath.Join(t.TempDir(), "pid")
	if got, _, err := checkPidFile(path); got != pidNone || err != nil {
		t.Errorf("no file: %d, %v", got, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := checkPidFile(path); !errors.Is(err, errBadPidFile) {
		t.Errorf("empty file: %v", err)
	}
}

func TestRemovePidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	if err := writePidFile(path, 5); err != nil {
		t.Fatal(err)
	}
	removePidFile(path, 6)
	if _, err := os.Stat(path); err != nil {
		t.Error("removed another daemon's file")
	}
	removePidFile(path, 5)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not removed: %v", err)
	}
}
