package auth

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Notice is something a file's reader should log, but that refuses nothing. Line 0 is the file as a whole.
type Notice struct {
	File string
	Line int
	Text string
}

func (n Notice) String() string {
	if n.Line == 0 {
		return n.Text + ` (file "` + n.File + `")`
	}
	return n.Text + ` (line ` + strconv.Itoa(n.Line) + ` of file "` + n.File + `")`
}

// Passwords is pool_passwd as read at one moment; it never changes. The nil value is an empty file.
type Passwords struct {
	entries map[string]Entry
}

// Lookup gives the user's entry, the zero Entry if there is none. The first line of a user counts.
func (p *Passwords) Lookup(user string) Entry {
	if p == nil {
		return Entry{}
	}
	return p.entries[user]
}

// Len is the number of users.
func (p *Passwords) Len() int {
	if p == nil {
		return 0
	}
	return len(p.entries)
}

// ParsePasswords reads pool_passwd (manual: authentication with pool_passwd). Lines are "user:password", where a
// backslash takes the next byte as it is; further fields are ignored. A carriage return at a line's end is not part
// of the password, and nothing is cut to a length. Lines that say nothing are skipped with a notice.
func ParsePasswords(name string, data []byte, key Key) (*Passwords, []Notice) {
	p := &Passwords{entries: map[string]Entry{}}
	var notices []Notice
	number := 0
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		number++
		user, password, problem := splitPasswordLine(trimCR(string(line)))
		if problem != "" {
			notices = append(notices, Notice{File: name, Line: number, Text: problem})
			continue
		}
		if _, known := p.entries[user]; known || user == "" {
			continue
		}
		entry := ParseEntry(password, key)
		p.entries[user] = entry
		if text := entryProblem(entry); text != "" {
			notices = append(notices, Notice{File: name, Line: number, Text: text})
		}
	}
	return p, notices
}

// entryProblem tells of an entry that lets nobody in.
func entryProblem(e Entry) string {
	switch {
	case e.Undecryptable():
		return ErrDecrypt.Error() + ": verify the valid pool_key exists"
	case e.Kind() == EntrySCRAM && !e.CanSCRAM():
		return "not a SCRAM verifier as PostgreSQL stores it"
	}
	return ""
}

// trimCR takes one carriage return off, unless it is quoted.
func trimCR(line string) string {
	cut, ok := strings.CutSuffix(line, "\r")
	if ok && (len(cut)-len(strings.TrimRight(cut, `\`)))%2 == 0 {
		return cut
	}
	return line
}

// splitPasswordLine gives the first two fields; an empty line gives neither.
func splitPasswordLine(line string) (user, password, problem string) {
	if line == "" {
		return "", "", ""
	}
	user, rest, more := passwordField(line)
	switch {
	case !more:
		return "", "", "no colon after the user name"
	case user == "":
		return "", "", "empty user name"
	case strings.ContainsRune(line, 0):
		return "", "", "zero byte"
	}
	return user, storedPassword(rest), ""
}

// storedPassword is the second field. A SCRAM verifier as it stands in pg_authid has two colons of its own, which nobody quotes:
// SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey.
func storedPassword(s string) string {
	field, rest, more := passwordField(s)
	if !strings.HasPrefix(field, verifierPrefix) {
		return field
	}
	for more && strings.Count(field, ":") < 2 {
		var next string
		next, rest, more = passwordField(rest)
		field += ":" + next
	}
	return field
}

// passwordField reads up to the next colon that is not quoted.
func passwordField(s string) (field, rest string, more bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == ':':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), "", false
}

// LoadPasswords reads the file. An empty path is the feature switched off: an empty file. A file that everybody can read is worth a
// notice, if anything is in it.
func LoadPasswords(path string, key Key) (*Passwords, []Notice, error) {
	if path == "" {
		return &Passwords{}, nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("pool_passwd: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("pool_passwd: %w", err)
	}
	p, notices := ParsePasswords(path, data, key)
	if p.Len() > 0 && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
		notices = append(notices, Notice{File: path, Text: "pool_passwd can be read or written by everybody; its mode should be 0600 or 0640"})
	}
	return p, notices, nil
}

// PasswordFile follows pool_passwd on disk, so that an entry changed by pg_md5 -m or pg_enc -m counts at the next
// login without a reload. Safe for concurrent use.
type PasswordFile struct {
	path string
	key  Key

	loaded atomic.Pointer[passwordState]
	mu     sync.Mutex // held while reading the file
}

type passwordState struct {
	passwords *Passwords
	notices   []Notice
	modified  time.Time
	size      int64
	file      os.FileInfo
	settled   bool // long enough after the last change: another one would have another time
}

// clockGrain is more than the steps in which file systems tell the time of a change.
const clockGrain = 100 * time.Millisecond

// OpenPasswordFile reads the file for the first time.
func OpenPasswordFile(path string, key Key) (*PasswordFile, []Notice, error) {
	f := &PasswordFile{path: path, key: key}
	if err := f.read(); err != nil {
		return nil, nil, err
	}
	return f, f.loaded.Load().notices, nil
}

// Current is the file as it is now: one stat, and a read where time, size or inode differ from the last read, or where that read
// followed a change so closely that the next one may look the same. It does
// I/O on a local file; if that fails, the last contents stay in force and come with the error.
func (f *PasswordFile) Current() (*Passwords, error) {
	state := f.loaded.Load()
	if f.path == "" || f.fresh(state) {
		return state.passwords, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.fresh(f.loaded.Load()) {
		if err := f.readLocked(); err != nil {
			return f.loaded.Load().passwords, err
		}
	}
	return f.loaded.Load().passwords, nil
}

// Reload reads the file whether or not it seems changed.
func (f *PasswordFile) Reload() ([]Notice, error) {
	if err := f.read(); err != nil {
		return nil, err
	}
	return f.loaded.Load().notices, nil
}

func (f *PasswordFile) fresh(s *passwordState) bool {
	if !s.settled {
		return false
	}
	info, err := os.Stat(f.path)
	return err == nil && info.ModTime().Equal(s.modified) && info.Size() == s.size && os.SameFile(info, s.file)
}

func (f *PasswordFile) read() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readLocked()
}

func (f *PasswordFile) readLocked() error {
	state := &passwordState{}
	if f.path != "" {
		info, err := os.Stat(f.path) // before reading: a change in between is seen again next time
		if err != nil {
			return fmt.Errorf("pool_passwd: %w", err)
		}
		state.file, state.modified, state.size = info, info.ModTime(), info.Size()
		state.settled = time.Since(state.modified).Abs() > clockGrain
	}
	var err error
	state.passwords, state.notices, err = LoadPasswords(f.path, f.key)
	if err != nil {
		return err
	}
	f.loaded.Store(state)
	return nil
}
