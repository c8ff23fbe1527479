package disk

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sys/unix"
)

// writerEnv makes the test binary a process that writes to the store in a directory until it is killed.
const writerEnv = "GOPGPOOL_DISK_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		fmt.Println("error", write(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// write saves one entry after the other, now and then a snapshot or a reset, and says which history and entry is kept when it is.
func write(dir string) error {
	s, err := Open(dir, true)
	if err != nil {
		return err
	}
	img, err := s.Load()
	if err != nil {
		return err
	}
	var history, index uint64
	if _, err := fmt.Sscan(string(img.Meta), &history); err != nil && img.Meta != nil {
		return err
	}
	for index = lastOf(img) + 1; ; index++ {
		b := Batch{HardState: hardState(1, 1, index), Entries: []*raftpb.Entry{entry(index, 1, strings.Repeat("x", int(index%700)))}}
		switch {
		case index%97 == 0:
			history, index = history+1, 1
			b = Batch{
				Reset: true, Meta: fmt.Append(nil, history), HardState: hardState(1, 1, 1),
				Entries: []*raftpb.Entry{entry(1, 1, "")},
			}
		case index%10 == 0:
			b.Snapshot = snapshot(index-5, 1, strings.Repeat("s", 6000))
		}
		if err := s.Save(b); err != nil {
			return err
		}
		fmt.Println(history, index)
	}
}

func lastOf(img Image) uint64 {
	if n := len(img.Entries); n > 0 {
		return img.Entries[n-1].GetIndex()
	}
	return img.Snapshot.GetMetadata().GetIndex()
}

// Whatever was acknowledged is there after a kill, and at most one batch more.
func TestKilledWriter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for name, dir := range map[string]string{"memory": memory(t), "disk": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			rounds := map[string]int{"memory": 40, "disk": 8}[name]
			for range rounds {
				acknowledged := killedAfter(t, dir, 1+rnd.IntN(150))
				s := open(t, dir)
				img, err := s.Load()
				if err != nil {
					t.Fatal(err)
				}
				history := uint64(0)
				if img.Meta != nil {
					if _, err := fmt.Sscan(string(img.Meta), &history); err != nil {
						t.Fatal(err)
					}
				}
				got, next := [2]uint64{history, lastOf(img)}, [2]uint64{acknowledged[0], acknowledged[1] + 1}
				if next[1]%97 == 0 {
					next = [2]uint64{next[0] + 1, 1}
				}
				if got != acknowledged && got != next || img.HardState.GetCommit() != got[1] {
					t.Fatalf("acknowledged %d, found %d with commit %d", acknowledged, got, img.HardState.GetCommit())
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// killedAfter runs a writer, kills it after some acknowledgements and returns the last one.
func killedAfter(t *testing.T, dir string, lines int) (last [2]uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if _, err := fmt.Sscan(scanner.Text(), &last[0], &last[1]); err != nil {
			t.Errorf("writer: %s", scanner.Text())
		}
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("writer: %v", err)
	}
	return last
}

// A full disk is an error, leaves the old content, and heals.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	for name, mount := range map[string]func(dir string) error{
		"tmpfs": func(dir string) error { return unix.Mount("none", dir, "tmpfs", 0, "size=1m,mode=0700") },
		"ext4":  mountExt4,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			done := make(chan struct{})
			go func() { // its thread has the mount for itself and ends with it
				defer close(done)
				runtime.LockOSThread()
				if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
					t.Log("no mount namespace:", err)
					return
				}
				if err := mount(dir); err != nil {
					t.Log("not tried, no small file system:", err)
					return
				}
				if err := fullDisk(dir); err != nil {
					t.Error(err)
				}
			}()
			<-done
		})
	}
}

func mountExt4(dir string) error {
	image := dir + ".img"
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 1<<20)); err != nil {
		return err
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-O", "^has_journal", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command[0], err, out)
		}
	}
	return os.Remove(image)
}

func fullDisk(dir string) (err error) {
	s, err := Open(dir, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	old := Batch{Meta: []byte("m"), HardState: hardState(1, 1, 1), Entries: []*raftpb.Entry{entry(1, 1, "a")}}
	if err := s.Save(old); err != nil {
		return err
	}
	const content = "m|1/1/1||1/1 a"
	ballast, err := fill(dir)
	if err != nil {
		return err
	}
	large := Batch{Entries: []*raftpb.Entry{entry(2, 1, strings.Repeat("b", 200_000))}}
	for _, b := range []Batch{large, {Reset: true}, large} {
		if err := s.Save(b); err == nil || errors.Is(err, ErrBroken) || !b.Reset && !errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("saving on a full disk: %w", err)
		}
		img, err := s.Load()
		if err != nil || show(img) != content {
			return fmt.Errorf("after a failed save: %s, %w", show(img), err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	if err := s.Save(large); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = Open(dir, true); err != nil {
		return err
	}
	if img, err := s.Load(); err != nil || len(img.Entries) != 2 || len(img.Entries[1].GetData()) != 200_000 {
		return fmt.Errorf("opened again: %d entries, %w", len(img.Entries), err)
	}
	return nil
}

// fill takes all the room there is.
func fill(dir string) (path string, err error) {
	f, err := os.Create(dir + "/ballast")
	if err != nil {
		return "", err
	}
	for size := 1 << 16; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, unix.ENOSPC) && err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
