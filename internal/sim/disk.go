package sim

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gopgpool/watchdog/machine"
)

const (
	// mostEntries and largestSnapshot bound what a node may keep.
	mostEntries     = 2000
	largestSnapshot = 64 << 10
)

var errFull = errors.New("no space left on device")

// disk is what watchdog/disk keeps of a node: a write is there as a whole or not at all.
type disk struct {
	image machine.Image
	full  bool
	slow  bool
}

// write makes a save durable. Its error is a demand of the machine that no disk can meet.
func (d *disk) write(s *machine.Save) error {
	if s.Reset {
		d.image = machine.Image{}
	}
	if s.Meta != nil {
		d.image.Meta = append([]byte(nil), s.Meta...)
	}
	if s.HardState != nil {
		d.image.HardState = proto.CloneOf(s.HardState)
	}
	if s.Snapshot != nil {
		if err := d.snapshot(s.Snapshot, s.Replace); err != nil {
			return err
		}
	}
	if err := d.append(s.Entries); err != nil {
		return err
	}
	return d.bounded()
}

func (d *disk) snapshot(s *raftpb.Snapshot, replace bool) error {
	index, old := s.GetMetadata().GetIndex(), d.image.Snapshot.GetMetadata().GetIndex()
	if index < old {
		return fmt.Errorf("snapshot %d is older than the stored one, %d", index, old)
	}
	kept := d.image.Entries
	for len(kept) > 0 && (replace || kept[0].GetIndex() <= index) {
		kept = kept[1:]
	}
	d.image.Entries = append([]*raftpb.Entry(nil), kept...)
	d.image.Snapshot = proto.CloneOf(s)
	return nil
}

func (d *disk) append(entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	decided := d.image.Snapshot.GetMetadata().GetIndex()
	first, last := entries[0].GetIndex(), decided
	if n := len(d.image.Entries); n > 0 {
		last = d.image.Entries[n-1].GetIndex()
	}
	if first <= decided || first > last+1 {
		return fmt.Errorf("entry %d does not follow the log, which has snapshot %d and ends at %d", first, decided, last)
	}
	for n := len(d.image.Entries); n > 0 && d.image.Entries[n-1].GetIndex() >= first; n-- {
		d.image.Entries = d.image.Entries[:n-1]
	}
	for _, e := range entries {
		d.image.Entries = append(d.image.Entries, proto.CloneOf(e))
	}
	return nil
}

func (d *disk) bounded() error {
	if n := len(d.image.Entries); n > mostEntries {
		return fmt.Errorf("%d entries are kept", n)
	}
	if n := len(d.image.Snapshot.GetData()); n > largestSnapshot {
		return fmt.Errorf("a snapshot has %d bytes", n)
	}
	return nil
}

// load is what a starting process finds. It shares nothing with the disk.
func (d *disk) load() machine.Image {
	img := machine.Image{Meta: append([]byte(nil), d.image.Meta...)}
	if len(img.Meta) == 0 {
		img.Meta = nil
	}
	if d.image.HardState != nil {
		img.HardState = proto.CloneOf(d.image.HardState)
	}
	if d.image.Snapshot != nil {
		img.Snapshot = proto.CloneOf(d.image.Snapshot)
	}
	for _, e := range d.image.Entries {
		img.Entries = append(img.Entries, proto.CloneOf(e))
	}
	return img
}
