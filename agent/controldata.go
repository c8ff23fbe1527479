package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// Cluster states of pg_controldata that something follows from.
const (
	stateShutDown         = "shut down"
	stateShutDownRecovery = "shut down in recovery"
	stateProduction       = "in production"
)

// controlData is what pg_controldata prints, as far as it matters here.
type controlData struct {
	state       string
	systemID    uint64
	timeline    cluster.Timeline // the newest one named
	checkpoint  cluster.LSN      // where the record of the latest checkpoint begins
	written     cluster.Timeline // whose WAL holds that record
	blockSize   uint64           // of WAL
	segmentSize uint64
	rewindable  bool // wal_log_hints or data checksums
}

// parseControlData reads the output of pg_controldata in the C locale.
func parseControlData(text string) (controlData, error) {
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			values[key] = strings.TrimSpace(value)
		}
	}
	d := controlData{state: values["Database cluster state"]}
	number := func(key string, bits int) uint64 {
		n, err := strconv.ParseUint(values[key], 10, bits)
		if err != nil {
			return 0
		}
		return n
	}
	d.systemID = number("Database system identifier", 64)
	d.written = cluster.Timeline(number("Latest checkpoint's TimeLineID", 32))
	d.timeline = max(d.written, cluster.Timeline(number("Min recovery ending loc's timeline", 32)))
	d.blockSize, d.segmentSize = number("WAL block size", 32), number("Bytes per WAL segment", 32)
	d.rewindable = values["wal_log_hints setting"] == "on" || number("Data page checksum version", 32) > 0
	at, err := cluster.ParseLSN(values["Latest checkpoint location"])
	if err != nil || d.state == "" || d.systemID == 0 {
		return controlData{}, errors.New("pg_controldata says nothing that can be understood")
	}
	d.checkpoint = at
	return d, nil
}

// controlData asks pg_controldata.
func (l *Local) controlData(ctx context.Context, p *place) (controlData, error) {
	out, err := l.run(ctx, p, task{program: "pg_controldata", args: []string{"-D", p.data}})
	if err != nil {
		return controlData{}, err
	}
	return parseControlData(out)
}

// Sizes in WAL, the same in all supported releases on machines of 64 bits: the alignment of records, the headers of a page and of the
// first page of a segment, the header of a record, the whole record of a shutdown checkpoint.
const (
	walAlign          = 8
	walPageHeader     = 24
	walSegmentHeader  = 40
	walRecordHeader   = 24
	walShutdownRecord = 120
)

// recordEnd is where the record that begins at start and has length bytes ends, as pg_last_wal_receive_lsn tells it: records are aligned,
// and go on behind the header of the next page.
func recordEnd(start cluster.LSN, length, blockSize, segmentSize uint64) cluster.LSN {
	at, left := uint64(start), length
	for {
		room := blockSize - at%blockSize
		if left <= room {
			at += left
			return cluster.LSN((at + walAlign - 1) / walAlign * walAlign)
		}
		left -= room
		at += room
		if at%segmentSize == 0 {
			at += walSegmentHeader
		} else {
			at += walPageHeader
		}
	}
}

// end is the end of the WAL of a server that was shut down cleanly: behind the record of its shutdown checkpoint, which is the last one.
// A standby that has received up to there has everything.
func (d *controlData) end(p *place) cluster.LSN {
	length, err := p.recordLength(d)
	if err != nil {
		length = walShutdownRecord
	}
	if d.blockSize == 0 || d.segmentSize == 0 {
		return d.checkpoint + walShutdownRecord
	}
	return recordEnd(d.checkpoint, length, d.blockSize, d.segmentSize)
}

// recordLength reads the length of the checkpoint's record, which stands at its beginning.
func (p *place) recordLength(d *controlData) (length uint64, err error) {
	if d.segmentSize == 0 {
		return 0, errors.New("the size of WAL segments is unknown")
	}
	err = p.owner.as(func() error {
		f, err := os.Open(filepath.Join(p.data, "pg_wal", segmentName(d.written, d.checkpoint, d.segmentSize)))
		if err != nil {
			return err
		}
		defer f.Close()
		var raw [4]byte
		if _, err := f.ReadAt(raw[:], int64(uint64(d.checkpoint)%d.segmentSize)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		length = uint64(binary.NativeEndian.Uint32(raw[:]))
		if length < walRecordHeader || length > 4*walShutdownRecord {
			return fmt.Errorf("no checkpoint record at %s", d.checkpoint)
		}
		return nil
	})
	return length, err
}

// segmentName is the file that holds a position.
func segmentName(timeline cluster.Timeline, at cluster.LSN, size uint64) string {
	number, perID := uint64(at)/size, uint64(1<<32)/size
	return fmt.Sprintf("%08X%08X%08X", uint32(timeline), number/perID, number%perID)
}
