package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func entry(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryType_EntryNormal.Enum(), Data: []byte(data)}
}

func snapshot(index, term uint64, data string) *raftpb.Snapshot {
	return &raftpb.Snapshot{Data: []byte(data), Metadata: &raftpb.SnapshotMetadata{
		Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}},
	}}
}

func hardState(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

// open opens a store that may lie in memory, which is fast.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func save(t testing.TB, s *Store, b Batch) {
	t.Helper()
	if err := s.Save(b); err != nil {
		t.Fatal(err)
	}
}

// show writes an image in one line: meta, term/vote/commit, snapshot index/term data, entries index/term data.
func show(img Image) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s|", img.Meta)
	if h := img.HardState; h != nil {
		fmt.Fprintf(&b, "%d/%d/%d", h.GetTerm(), h.GetVote(), h.GetCommit())
	}
	b.WriteString("|")
	if s := img.Snapshot; s != nil {
		fmt.Fprintf(&b, "%d/%d %s", s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm(), s.GetData())
	}
	b.WriteString("|")
	for i, e := range img.Entries {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d/%d %s", e.GetIndex(), e.GetTerm(), e.GetData())
	}
	return b.String()
}

func loaded(t testing.TB, s *Store) string {
	t.Helper()
	img, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return show(img)
}

func TestSave(t *testing.T) {
	first := Batch{Meta: []byte("m"), HardState: hardState(1, 2, 0), Entries: []*raftpb.Entry{entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")}}
	for _, row := range []struct {
		name  string
		batch []Batch
		want  string // or
		fails string
	}{
		{"nothing", nil, "|||", ""},
		{"empty batch", []Batch{{}}, "|||", ""},
		{"all", []Batch{first}, "m|1/2/0||1/1 a, 2/1 b, 3/1 c", ""},
		{"what is nil stays", []Batch{first, {HardState: hardState(1, 2, 3)}}, "m|1/2/3||1/1 a, 2/1 b, 3/1 c", ""},
		{"append", []Batch{first, {Entries: []*raftpb.Entry{entry(4, 2, "d")}}}, "m|1/2/0||1/1 a, 2/1 b, 3/1 c, 4/2 d", ""},
		{"replace", []Batch{first, {Entries: []*raftpb.Entry{entry(2, 2, "B")}}}, "m|1/2/0||1/1 a, 2/2 B", ""},
		{"replace all", []Batch{first, {Entries: []*raftpb.Entry{entry(1, 2, "A")}}}, "m|1/2/0||1/2 A", ""},
		{"gap", []Batch{first, {Entries: []*raftpb.Entry{entry(5, 2, "e")}}}, "m|1/2/0||1/1 a, 2/1 b, 3/1 c", "entry 5 does not follow"},
		{
			"gap within",
			[]Batch{first, {Meta: []byte("x"), Entries: []*raftpb.Entry{entry(4, 1, "d"), entry(6, 1, "f")}}},
			"m|1/2/0||1/1 a, 2/1 b, 3/1 c", "entry 6 follows entry 4",
		},
		{"snapshot of ours", []Batch{first, {Snapshot: snapshot(2, 1, "S")}}, "m|1/2/0|2/1 S|3/1 c", ""},
		{"snapshot of all", []Batch{first, {Snapshot: snapshot(3, 1, "S")}}, "m|1/2/0|3/1 S|", ""},
		{"snapshot beyond", []Batch{first, {Snapshot: snapshot(9, 3, "S")}}, "m|1/2/0|9/3 S|", ""},
		{"snapshot that contradicts", []Batch{first, {Snapshot: snapshot(2, 3, "S")}}, "m|1/2/0|2/3 S|", ""},
		{
			"snapshot and entries",
			[]Batch{first, {Snapshot: snapshot(9, 3, "S"), Entries: []*raftpb.Entry{entry(10, 3, "j")}}},
			"m|1/2/0|9/3 S|10/3 j", "",
		},
		{"snapshot again", []Batch{first, {Snapshot: snapshot(2, 1, "S")}, {Snapshot: snapshot(2, 1, "T")}}, "m|1/2/0|2/1 T|3/1 c", ""},
		{
			"older snapshot",
			[]Batch{first, {Snapshot: snapshot(2, 1, "S")}, {Snapshot: snapshot(1, 1, "T")}},
			"m|1/2/0|2/1 S|3/1 c", "snapshot 1 is older",
		},
		{
			"entry below the snapshot",
			[]Batch{first, {Snapshot: snapshot(2, 1, "S")}, {Entries: []*raftpb.Entry{entry(2, 1, "x")}}},
			"m|1/2/0|2/1 S|3/1 c", "entry 2 does not follow",
		},
		{"reset", []Batch{first, {Reset: true}}, "|||", ""},
		{
			"reset and more",
			[]Batch{first, {Reset: true, Meta: []byte("n"), Snapshot: snapshot(7, 4, "S"), Entries: []*raftpb.Entry{entry(8, 4, "h")}}},
			"n||7/4 S|8/4 h", "",
		},
		{"reset that fails", []Batch{first, {Reset: true, Entries: []*raftpb.Entry{entry(8, 4, "h")}}}, "m|1/2/0||1/1 a, 2/1 b, 3/1 c", "entry 8 does not"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := memory(t)
			s := open(t, dir)
			var err error
			for _, b := range row.batch {
				if err != nil {
					t.Fatal(err)
				}
				err = s.Save(b)
			}
			if row.fails == "" && err != nil || row.fails != "" && (err == nil || !strings.Contains(err.Error(), row.fails)) {
				t.Errorf("error %v, expected %q", err, row.fails)
			}
			if got := loaded(t, s); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := loaded(t, open(t, dir)); got != row.want {
				t.Errorf("after opening again\ngot  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestSetAside(t *testing.T) {
	dir := memory(t)
	s := open(t, dir)
	save(t, s, Batch{Reset: true, Meta: []byte("cluster 0"), HardState: hardState(1, 1, 1), Entries: []*raftpb.Entry{entry(1, 1, "0")}})
	for i := 1; i < 9; i++ {
		save(t, s, Batch{Reset: true, Meta: fmt.Appendf(nil, "cluster %d", i), Entries: []*raftpb.Entry{entry(1, 1, fmt.Sprint(i))}})
	}
	names, err := s.aside()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != asideKept {
		t.Fatalf("set aside: %q", names)
	}
	for i, name := range names {
		other := memory(t)
		if err := os.Link(filepath.Join(dir, name), filepath.Join(other, fileName)); err != nil {
			t.Fatal(err)
		}
		if got, want := loaded(t, open(t, other)), fmt.Sprintf("cluster %d|||1/1 %d", i+3, i+3); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if got, want := loaded(t, s), "cluster 8|||1/1 8"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The model does in memory what the file should do.
func TestAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	dir := memory(t)
	s := open(t, dir)
	var img Image
	last := func() (index, term uint64) {
		if n := len(img.Entries); n > 0 {
			return img.Entries[n-1].GetIndex(), img.Entries[n-1].GetTerm()
		}
		return img.Snapshot.GetMetadata().GetIndex(), img.Snapshot.GetMetadata().GetTerm()
	}
	for step := range 1500 {
		b := Batch{}
		if rnd.IntN(10) == 0 {
			b.Meta = fmt.Appendf(nil, "meta %d", step)
			img.Meta = b.Meta
		}
		decided := img.Snapshot.GetMetadata().GetIndex()
		if n := len(img.Entries); n > 0 && rnd.IntN(20) == 0 { // a snapshot of what we have
			k := rnd.IntN(n)
			b.Snapshot = snapshot(img.Entries[k].GetIndex(), img.Entries[k].GetTerm(), strings.Repeat("s", rnd.IntN(20000)))
			img.Snapshot, img.Entries = b.Snapshot, img.Entries[k+1:]
		} else if rnd.IntN(50) == 0 { // one from the leader
			index, term := last()
			b.Snapshot = snapshot(decided+rnd.Uint64N(index-decided+10), term+1, "leader")
			img.Snapshot, img.Entries = b.Snapshot, nil
		}
		decided = img.Snapshot.GetMetadata().GetIndex()
		if index, term := last(); rnd.IntN(3) > 0 {
			first := index + 1
			if rnd.IntN(8) == 0 {
				first = decided + 1 + rnd.Uint64N(index-decided+1)
			}
			for i := range 1 + rnd.Uint64N(5) {
				b.Entries = append(b.Entries, entry(first+i, term, strings.Repeat("e", rnd.IntN(300))))
			}
			img.Entries = append(img.Entries[:first-decided-1:first-decided-1], b.Entries...)
		}
		save(t, s, b)
		if rnd.IntN(20) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
		}
		if got, want := loaded(t, s), show(img); got != want {
			t.Fatalf("step %d\ngot  %s\nwant %s", step, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	if _, err := Open(filepath.Join(os.TempDir(), "gopgpool-disk-test"), false); !errors.Is(err, ErrVolatile) || !strings.Contains(err.Error(), "wd_state_directory") {
		t.Errorf("/tmp: %v", err)
	}
	if _, err := os.Stat(filepath.Join(os.TempDir(), "gopgpool-disk-test")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a directory that is refused was made:", err)
	}
	if _, err := os.Stat("/dev/shm"); err == nil {
		if _, err := Open("/dev/shm/gopgpool-disk-test", false); !errors.Is(err, ErrVolatile) {
			t.Errorf("tmpfs: %v", err)
		}
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := os.Stat(s.Path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if err := prepare(dir, true); err == nil || !strings.Contains(err.Error(), "others may write there (mode 0770)") {
		t.Errorf("mode 0770: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Log("another owner's directory is not tried: not root")
		return
	}
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, 65534, 0)); err != nil {
		t.Fatal(err)
	}
	if err := prepare(dir, true); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("another owner: %v", err)
	}
}

// TestCheck: what Open would say is known before, and nothing is made for that.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := Check(filepath.Join(os.TempDir(), "gopgpool-disk-test"), false); !errors.Is(err, ErrVolatile) {
		t.Errorf("/tmp: %v", err)
	}
	inner := filepath.Join(dir, "a", "b")
	if err := Check(inner, true); err != nil {
		t.Errorf("it can be made: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(inner)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was made:", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Check(dir, true); err == nil || !strings.Contains(err.Error(), "others may write there") {
		t.Errorf("mode 0777: %v", err)
	}
	if err := Check("/proc/nothing/wd", true); err == nil && os.Geteuid() != 0 {
		t.Error("it cannot be made, and that is not told")
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := Open(dir, true); !errors.Is(err, ErrLocked) {
		t.Errorf("second: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(Batch{}); err == nil {
		t.Error("a closed store saves")
	}
	if _, err := s.Load(); err == nil {
		t.Error("a closed store loads")
	}
	open(t, dir)
}

// Whatever the file holds, there is an answer and no panic; and what is loaded without an error is what was saved, at some time.
func TestDamagedFile(t *testing.T) {
	dir := memory(t)
	s := open(t, dir)
	saved := map[string]bool{}
	for i := range uint64(40) {
		save(t, s, Batch{Meta: []byte("meta"), HardState: hardState(1, 1, i), Entries: []*raftpb.Entry{entry(i+1, 1, strings.Repeat("x", 300))}})
		if i == 20 {
			save(t, s, Batch{Snapshot: snapshot(11, 1, strings.Repeat("s", 9000))})
		}
		saved[loaded(t, s)] = true
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	refused := 0
	for round := range 1000 {
		damaged := damage(rnd, whole, round)
		if err := os.WriteFile(s.Path(), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := reopened(dir)
		if err != nil {
			refused++
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), s.Path()) {
				t.Fatalf("round %d: %v", round, err)
			}
		} else if !saved[got] {
			t.Fatalf("round %d: loaded %.200s", round, got)
		}
	}
	if refused < 100 {
		t.Errorf("only %d damaged files were refused", refused)
	}
}

// damage cuts a file short, changes bits and bytes, or fills a range with zeros.
func damage(rnd *rand.Rand, whole []byte, round int) []byte {
	b := bytes.Clone(whole)
	switch round % 5 {
	case 0:
		return b[:rnd.IntN(len(b))]
	case 1:
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
	case 2:
		for range 200 {
			b[rnd.IntN(len(b))] ^= byte(rnd.IntN(256))
		}
	case 3: // where pages say what they are
		for range 1 + rnd.IntN(30) {
			b[rnd.IntN(len(b)/4096)*4096+rnd.IntN(160)] = byte(rnd.IntN(256))
		}
	default:
		n := rnd.IntN(len(b))
		clear(b[n:min(len(b), n+1+rnd.IntN(8192))])
	}
	return b
}

func reopened(dir string) (string, error) {
	s, err := Open(dir, true)
	if err != nil {
		return "", err
	}
	img, err := s.Load()
	return show(img), errors.Join(err, s.Close())
}

func TestForeignFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"text":  func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("no database\n"), 1000), 0o600) },
		"short": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"empty": func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"another program's": func(path string) error {
			db, err := bolt.Open(path, 0o600, nil)
			return errors.Join(err, db.Close())
		},
		"no free list": func(path string) error {
			db, err := bolt.Open(path, 0o600, &bolt.Options{NoFreelistSync: true})
			return errors.Join(err, db.Update(format), db.Close(), os.Truncate(path, 1<<14))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := make(filepath.Join(dir, fileName)); err != nil {
				t.Fatal(err)
			}
			if _, err := reopened(dir); !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
		})
	}
}

// A decided entry that is not there must not pass for a short log.
func TestLostEntries(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	save(t, s, Batch{HardState: hardState(1, 1, 3), Entries: []*raftpb.Entry{entry(1, 1, "a"), entry(2, 1, "b")}})
	if _, err := s.Load(); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestStaysSmall(t *testing.T) {
	saves := uint64(5_000)
	if os.Getenv("GOPGPOOL_DISK_SAVES") != "" {
		saves = 100_000
	}
	dir := memory(t)
	s := open(t, dir)
	for i := uint64(1); i <= saves; i++ {
		b := Batch{HardState: hardState(1, 1, i), Entries: []*raftpb.Entry{entry(i, 1, "a decision of the usual size, with some more bytes than that")}}
		save(t, s, b)
		if i%1000 == 0 {
			save(t, s, Batch{Snapshot: snapshot(i-100, 1, strings.Repeat("s", 10000))})
		}
	}
	info, err := os.Stat(s.Path())
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2<<20 {
		t.Errorf("%d bytes", info.Size())
	}
	t.Logf("%d saves, %d bytes", saves, info.Size())
	if img, err := s.Load(); err != nil || img.HardState.GetCommit() != saves || !proto.Equal(img.Entries[0], entry(saves-99, 1, "")) && img.Entries[0].GetIndex() != saves-99 {
		t.Error(img.HardState, err)
	}
}

// memory is a directory where flushing costs nothing.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "lifecheck-disk-")
	if err != nil {
		t.Log("no /dev/shm, on disk instead:", err)
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Somebody cuts the file short while it is mapped: the kernel answers a read with a fault.
func TestCutShortWhileOpen(t *testing.T) {
	s := open(t, memory(t))
	for i := range uint64(100) {
		save(t, s, Batch{Entries: []*raftpb.Entry{entry(i+1, 1, strings.Repeat("x", 3000))}})
	}
	if err := os.Truncate(s.Path(), int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if err := s.Save(Batch{Meta: []byte("m")}); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

// Foreign bytes under the file's name are an error, or happen to be a store.
func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir)
	save(f, s, Batch{Meta: []byte("m"), HardState: hardState(1, 1, 1), Entries: []*raftpb.Entry{entry(1, 1, "a")}})
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(s.Path())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, file []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := reopened(dir); err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	})
}
