package ipc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Types of requests.
const (
	TypeRegister       = '0' // for notifications, which do not exist
	TypeStatusChange   = '2'
	TypeNodes          = '3'
	TypeVariable       = 'v'
	typeFailover       = 'f'
	typeFailoverMark   = 'i'
	typeOnlineRecovery = 'r'
	typeLeaderData     = 'd'
	typeCluster        = 'c'
)

// Types of replies.
const (
	ReplyTransition = '5'
	ReplyBad        = '6'
	ReplyOK         = '7'
	ReplyTimeout    = '8'
)

// The values of NodeStatus and of ValueDataType.
const (
	statusDead  = 1
	statusAlive = 2

	kindInt    = 1
	kindString = 2
	kindBool   = 3
	kindLong   = 4
)

const (
	headerSize = 5       // type and length of the data
	maxRequest = 1 << 14 // bytes of data; a message of wd_cli is the longest thing in one
	maxReply   = 1 << 20 // 128 nodes are 40 kB
)

// errTooLong is a length beyond what is read.
var errTooLong = errors.New("the message is too long")

// message is a request or a reply. No type means that there was none.
type message struct {
	typ  byte
	data []byte
}

// appendMessage appends a message; the length is that of the data alone.
func appendMessage(b []byte, typ byte, data []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, typ), uint32(len(data)))
	return append(b, data...)
}

// readMessage reads a message whose data are at most limit bytes long. Nothing is allocated for a claimed length before the data come.
func readMessage(r io.Reader, limit int) (message, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return message{}, err
	}
	m := message{typ: header[0]}
	length := int64(binary.BigEndian.Uint32(header[1:]))
	if length > int64(limit) {
		return m, errTooLong
	}
	var data bytes.Buffer
	if _, err := io.CopyN(&data, r, length); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return m, err
	}
	m.data = data.Bytes()
	return m, nil
}

// text is the data up to the NUL that ends them.
func (m message) text() []byte {
	text, _, _ := bytes.Cut(m.data, []byte{0})
	return text
}

// object is a JSON object. Names are compared without regard to case, as Pgpool-II does.
type object map[string]json.RawMessage

// parseObject reads data that are one JSON object.
func parseObject(text []byte) (object, error) {
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("null is not an object")
	}
	return o, nil
}

func (o object) field(name string) (json.RawMessage, bool) {
	if v, ok := o[name]; ok {
		return v, true
	}
	for k, v := range o {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

// integer is a field that is a whole number; a number in quotes is none.
func (o object) integer(name string) (int, bool) {
	v, ok := o.field(name)
	var n *int
	if !ok || json.Unmarshal(v, &n) != nil || n == nil {
		return 0, false
	}
	return *n, true
}

func (o object) string(name string) (string, bool) {
	v, ok := o.field(name)
	var s *string
	if !ok || json.Unmarshal(v, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

// appendString appends a JSON string. Only what must be is escaped: Pgpool-II's programs print what they get.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
