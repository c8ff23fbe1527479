package failover

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// StatusFileName is the name of the status file inside work_dir.
const StatusFileName = "pgpool_status"

// maxStatusFile bounds what is read of a status file: more than 128 lines cannot mean anything.
const maxStatusFile = 64 << 10

// binaryStatusSize is the size of the form of releases before 3.4: 128 native integers of 4 bytes.
const binaryStatusSize = 4 * cluster.MaxNodes

// Mark is what the status file says of one node.
type Mark struct {
	Status cluster.Status // Unused, Up or Down; Waiting for a line that says nothing
	Line   string         // the text of a line that says nothing
}

// ParseStatus reads a status file: a line for each node in order, "up", "down" or "unused" in any case and possibly followed by
// more. The binary form of old releases is understood. It never fails: a line that says nothing is a Mark with
// StatusWaiting. No marks at all means that the file is to be disregarded, because nobody in it is up.
func ParseStatus(data []byte) []Mark {
	marks, ok := parseBinaryStatus(data)
	if !ok {
		marks = parseTextStatus(data)
	}
	for _, m := range marks {
		if m.Status == cluster.StatusUp {
			return marks
		}
	}
	return nil
}

func parseTextStatus(data []byte) []Mark {
	var marks []Mark
	for line := range bytes.Lines(data) {
		if len(marks) == cluster.MaxNodes {
			break
		}
		marks = append(marks, parseStatusLine(strings.TrimRight(string(line), "\r\n")))
	}
	return marks
}

func parseStatusLine(line string) Mark {
	lower := strings.ToLower(line)
	switch {
	case strings.HasPrefix(lower, "up"):
		return Mark{Status: cluster.StatusUp}
	case strings.HasPrefix(lower, "down"):
		return Mark{Status: cluster.StatusDown}
	case strings.HasPrefix(lower, "unused"):
		return Mark{Status: cluster.StatusUnused}
	default:
		return Mark{Status: cluster.StatusWaiting, Line: line}
	}
}

// parseBinaryStatus reads the old form. Text can be as long, so every number must be one of the form's.
func parseBinaryStatus(data []byte) ([]Mark, bool) {
	if len(data) < binaryStatusSize {
		return nil, false
	}
	marks := make([]Mark, cluster.MaxNodes)
	for i := range marks {
		switch binary.NativeEndian.Uint32(data[4*i:]) {
		case 0:
			marks[i].Status = cluster.StatusUnused
		case 1, 2:
			marks[i].Status = cluster.StatusUp
		case 3:
			marks[i].Status = cluster.StatusDown
		default:
			return nil, false
		}
	}
	return marks, true
}

// FormatStatus is the content of the status file for a View: waiting counts as up, quarantine as down.
func FormatStatus(v *cluster.View) []byte {
	var b bytes.Buffer
	for i := range v.Nodes {
		switch v.Nodes[i].Status {
		case cluster.StatusWaiting, cluster.StatusUp:
			b.WriteString("up\n")
		case cluster.StatusDown, cluster.StatusQuarantine:
			b.WriteString("down\n")
		case cluster.StatusUnused:
			b.WriteString("unused\n")
		default:
			panic("failover: no such node status: " + strconv.Itoa(int(v.Nodes[i].Status)))
		}
	}
	return b.Bytes()
}

// ReadStatus reads the status file at start. With discard (pgpool -D) it is deleted instead. The marks are nil where the file
// has nothing to say: then all nodes start waiting. Whatever happened is told by the reasons; a file that cannot be read
// never prevents a start.
func ReadStatus(path string, discard bool) ([]Mark, []Reason) {
	tell := func(k Kind, detail string) []Reason {
		return []Reason{{Kind: k, Node: cluster.NoNode, Old: path, New: detail}}
	}
	if discard {
		err := os.Remove(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case err != nil:
			return nil, tell(StatusNotRead, err.Error())
		}
		return nil, tell(StatusDiscarded, "")
	}
	data, err := readBounded(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, tell(StatusMissing, "")
	case err != nil:
		return nil, tell(StatusNotRead, err.Error())
	}
	marks := ParseStatus(data)
	if marks == nil {
		return nil, tell(StatusBogus, "")
	}
	return marks, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	// A pipe or device in its place would block the start for ever.
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > maxStatusFile {
		return nil, fmt.Errorf("%s has %d bytes, a status file has at most %d", path, info.Size(), maxStatusFile)
	}
	return os.ReadFile(path)
}

// writeStatus replaces the status file so that a crash leaves either the old or the new one.
func writeStatus(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, StatusFileName+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := writeSynced(f, data); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// writeSynced writes, flushes to disk and closes f. Monitoring reads the file as another user, so it is readable.
func writeSynced(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
