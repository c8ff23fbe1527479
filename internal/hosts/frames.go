package hosts

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// What passes between the stand-in for ssh and the helper of the host it calls: frames of a kind byte, a length and a payload. One
// request, input until its end, meanwhile output; the exit status is the last frame.
type frameKind byte

const (
	frameRequest  frameKind = 'q' // request
	frameReady    frameKind = 'y' // the helper lets the caller in
	frameInput    frameKind = 'i'
	frameInputEnd frameKind = 'e'
	frameOutput   frameKind = 'o'
	frameErrors   frameKind = 'r'
	frameExit     frameKind = 'x' // one byte
)

// maxFrame bounds a payload.
const maxFrame = 1 << 20

// request is a command to be run on the helper's host.
type request struct {
	User    string
	Command string   // for the user's shell; or
	Argv    []string // a program with its arguments
	Dir     string   // default: the user's home
	Env     []string // added to the user's own
}

// frameWriter writes whole frames for several goroutines.
type frameWriter struct {
	mu sync.Mutex // one frame at a time
	w  io.Writer
}

func (fw *frameWriter) write(kind frameKind, payload []byte) error {
	frame := make([]byte, 5, 5+len(payload))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	fw.mu.Lock()
	defer fw.mu.Unlock()
	_, err := fw.w.Write(append(frame, payload...))
	return err
}

// copyFrom sends all that r gives. It ends with an error of the connection only.
func (fw *frameWriter) copyFrom(kind frameKind, r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := fw.write(kind, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

func readFrame(r io.Reader) (frameKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes", n)
	}
	payload := make([]byte, n)
	_, err := io.ReadFull(r, payload)
	return frameKind(head[0]), payload, err
}

func readRequest(r io.Reader) (request, error) {
	kind, payload, err := readFrame(r)
	if err != nil {
		return request{}, err
	}
	var req request
	if kind != frameRequest {
		return req, fmt.Errorf("frame %q instead of a request", kind)
	}
	return req, json.Unmarshal(payload, &req)
}
