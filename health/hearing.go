package health

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"

	"gopgpool/auth"
)

// hearing stands between the driver and one connection while it logs in, beyond TLS. It remembers what the server asks first, and
// answers for the driver where all we have is a hash, with which the driver cannot log in. It belongs to one goroutine at a time.
type hearing struct {
	user  string
	entry auth.Entry
	head  []byte // what the server said first, no more than authMessage bytes
	ended bool   // the login
}

// authMessage is the length of the message that asks for an MD5 password: a letter, a length, a code and a salt.
const authMessage = 1 + 4 + 4 + 4

func newHearing(user string, e auth.Entry) *hearing {
	return &hearing{user: user, entry: e, head: make([]byte, 0, authMessage)}
}

// frontend is what the driver reads and writes by.
func (h *hearing) frontend(r io.Reader, w io.Writer) *pgproto3.Frontend {
	return pgproto3.NewFrontend(&listening{Reader: r, h: h}, &speaking{Writer: w, h: h})
}

// over ends the hearing: all that follows passes through.
func (h *hearing) over() { h.ended = true }

// asked reports whether the server asked who we are.
func (h *hearing) asked() bool { return len(h.head) > 0 && h.head[0] == 'R' }

// substitute reports whether the driver has no password and we must answer for it. A user without any is left to the driver, which
// sends an empty one.
func (h *hearing) substitute() bool {
	_, clear := h.entry.Clear()
	return !h.ended && !clear && h.entry.Present()
}

type listening struct {
	io.Reader
	h *hearing
}

func (l *listening) Read(b []byte) (int, error) {
	n, err := l.Reader.Read(b)
	if h := l.h; len(h.head) < authMessage {
		h.head = append(h.head, b[:min(n, authMessage-len(h.head))]...)
	}
	return n, err
}

type speaking struct {
	io.Writer
	h *hearing
}

// Write lets everything pass but the driver's answer to a question it has no password for.
func (s *speaking) Write(b []byte) (int, error) {
	if !s.h.substitute() || len(b) == 0 || b[0] != 'p' {
		return s.Writer.Write(b)
	}
	answer, err := s.h.answer()
	if err != nil {
		return 0, err
	}
	if _, err := s.Writer.Write(answer); err != nil {
		return 0, err
	}
	return len(b), nil
}

// answer is the message that proves who we are by what we have.
func (h *hearing) answer() ([]byte, error) {
	if len(h.head) < 9 {
		return nil, unusable(h.entry)
	}
	code := int32(binary.BigEndian.Uint32(h.head[5:]))
	if h.entry.Undecryptable() || !h.entry.Serves(auth.ServerMethod(code)) {
		return nil, unusable(h.entry)
	}
	step, err := auth.NewLogin(auth.EntryCredential(h.user, h.entry), nil, nil).Next(code, h.head[9:])
	if err != nil {
		return nil, err
	}
	msg := binary.BigEndian.AppendUint32([]byte{'p'}, uint32(4+len(step.Body)))
	return append(msg, step.Body...), nil
}

var errUndecryptable = errors.New("the AES password cannot be decrypted")

// unusable says why we have no answer to what a server asks.
func unusable(e auth.Entry) error {
	if e.Undecryptable() {
		return errUndecryptable
	}
	return fmt.Errorf("the password is stored as %s, and the server asks for one that must be known in clear", e.Kind())
}
