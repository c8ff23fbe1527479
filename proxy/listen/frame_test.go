package listen

import (
	"bytes"
	"testing"

	"gopgpool/pgwire"
)

// notification is a NotificationResponse as a server sends it.
func notification(pid uint32, channel, payload string) []byte {
	body := []byte{byte(pid >> 24), byte(pid >> 16), byte(pid >> 8), byte(pid)}
	body = append(append(append(append(body, channel...), 0), payload...), 0)
	return pgwire.AppendBody(nil, pgwire.NotificationResponse, body)
}

func TestReadNotification(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       Notification
		ok         bool
	}{
		{"with payload", "\x00\x00\x01\x02ch\x00pay\x00", Notification{258, []byte("ch"), []byte("pay")}, true},
		{"without", "\xff\xff\xff\xffch\x00\x00", Notification{1<<32 - 1, []byte("ch"), []byte{}}, true},
		{"empty", "", Notification{}, false},
		{"pid only", "\x00\x00\x01\x02", Notification{}, false},
		{"no channel", "\x00\x00\x01\x02\x00pay\x00", Notification{}, false},
		{"no end of the channel", "\x00\x00\x01\x02ch", Notification{}, false},
		{"no end of the payload", "\x00\x00\x01\x02ch\x00pay", Notification{}, false},
		{"more behind it", "\x00\x00\x01\x02ch\x00pay\x00x", Notification{}, false},
	} {
		n, ok := ReadNotification([]byte(c.body))
		if ok != c.ok || ok && (n.PID != c.want.PID || !bytes.Equal(n.Channel, c.want.Channel) || !bytes.Equal(n.Payload, c.want.Payload)) {
			t.Errorf("%s: %+v, %v", c.name, n, ok)
		}
	}
}

func TestWithPID(t *testing.T) {
	from := notification(7, "ch", "pay")
	if got := withPID(from, 9); !bytes.Equal(got, notification(9, "ch", "pay")) || !bytes.Equal(from, notification(7, "ch", "pay")) {
		t.Errorf("%q from %q", got, from)
	}
}

func TestSplitterRefusesLongMessages(t *testing.T) {
	var s splitter
	s.added(copy(s.room(), "A\x00\x10\x00\x00"))
	if frame, err := s.next(); err == nil {
		t.Errorf("%q", frame)
	}
}

// Bytes of a server, in pieces: the messages do not depend on the pieces, their parts lie within them, and written again they are
// the same.
func FuzzServerBytes(f *testing.F) {
	two := append(notification(1, "a", "b"), notification(2, "c", "")...)
	f.Add(two, uint8(1))
	f.Add(append(pgwire.AppendReady(two, 'I'), 'A', 0, 0), uint8(7))
	f.Add([]byte("A\xff\xff\xff\xff"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		whole, err1 := split(data, len(data)+1)
		cut, err2 := split(data, int(piece)+1)
		if (err1 == nil) != (err2 == nil) || len(whole) != len(cut) {
			t.Fatalf("whole: %d, %v; in pieces: %d, %v", len(whole), err1, len(cut), err2)
		}
		for i, frame := range whole {
			if !bytes.Equal(frame, cut[i]) {
				t.Fatalf("message %d: %q, in pieces %q", i, frame, cut[i])
			}
			if n, ok := ReadNotification(frame[pgwire.HeaderSize:]); ok && frame[0] == pgwire.NotificationResponse {
				if again := notification(n.PID, string(n.Channel), string(n.Payload)); !bytes.Equal(again, frame) {
					t.Fatalf("%q read, %q written", frame, again)
				}
			}
		}
	})
}

// split reads data in pieces and returns copies of the messages.
func split(data []byte, piece int) (frames [][]byte, err error) {
	var s splitter
	for len(data) > 0 {
		n := copy(s.room(), data[:min(piece, len(data))])
		s.added(n)
		data = data[n:]
		for {
			frame, err := s.next()
			if err != nil {
				return frames, err
			}
			if frame == nil {
				break
			}
			frames = append(frames, bytes.Clone(frame))
		}
		if len(s.buf) > 4*maxFrame {
			panic("the buffer grows")
		}
	}
	return frames, nil
}
