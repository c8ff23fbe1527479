package pgwire

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Message types, named as the protocol documentation names the messages. Client's and server's types overlap.
const (
	// sent by clients
	Query        = 'Q'
	Parse        = 'P'
	Bind         = 'B'
	Describe     = 'D'
	Execute      = 'E'
	Close        = 'C'
	Sync         = 'S'
	Flush        = 'H'
	FunctionCall = 'F'
	Terminate    = 'X'
	Password     = 'p' // also SASLInitialResponse, SASLResponse
	CopyData     = 'd' // both ways
	CopyDone     = 'c' // both ways
	CopyFail     = 'f'

	// sent by servers
	Authentication       = 'R'
	ParameterStatus      = 'S'
	BackendKeyData       = 'K'
	NegotiateVersion     = 'v'
	ReadyForQuery        = 'Z'
	ErrorResponse        = 'E'
	NoticeResponse       = 'N'
	NotificationResponse = 'A'
	RowDescription       = 'T'
	DataRow              = 'D'
	CommandComplete      = 'C'
	EmptyQueryResponse   = 'I'
	PortalSuspended      = 's'
	ParseComplete        = '1'
	BindComplete         = '2'
	CloseComplete        = '3'
	NoData               = 'n'
	ParameterDescription = 't'
	CopyInResponse       = 'G'
	CopyOutResponse      = 'H'
	CopyBothResponse     = 'W'
	FunctionCallResponse = 'V'
)

// HeaderSize is the type byte and the length.
const HeaderSize = 5

// MaxMessage bounds a length as PostgreSQL does (1 GB).
const MaxMessage = 1 << 30

// Header reads a frame's type and whole size (header included). ok is false while b is shorter than a header. A length no
// peer may send is an error; nothing is ever allocated by a length.
func Header(b []byte) (typ byte, size int, ok bool, err error) {
	if len(b) < HeaderSize {
		return 0, 0, false, nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	if n < 4 || n > MaxMessage {
		return b[0], 0, false, &LengthError{Type: b[0], Length: n}
	}
	return b[0], int(n) + 1, true, nil
}

// LengthError is a message whose length cannot be.
type LengthError struct {
	Type   byte
	Length uint32
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("invalid message length %d (type %q)", e.Length, e.Type)
}

// CString cuts a zero-terminated string off b. ok is false when there is no terminator. The result aliases b.
func CString(b []byte) (s, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, nil, false
	}
	return b[:i], b[i+1:], true
}

// begin appends a header whose length end fills in.
func begin(dst []byte, typ byte) ([]byte, int) {
	dst = append(dst, typ, 0, 0, 0, 0)
	return dst, len(dst) - 4
}

func end(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

// AppendQuery appends a simple query.
func AppendQuery(dst []byte, sql string) []byte {
	dst, at := begin(dst, Query)
	dst = append(dst, sql...)
	return end(append(dst, 0), at)
}

// AppendSimple appends a message without a body (Sync, Flush, CopyDone, ParseComplete, NoData, ...).
func AppendSimple(dst []byte, typ byte) []byte { return append(dst, typ, 0, 0, 0, 4) }

// AppendParse appends a Parse without parameter types.
func AppendParse(dst []byte, name, sql string) []byte {
	dst, at := begin(dst, Parse)
	dst = append(append(dst, name...), 0)
	dst = append(append(dst, sql...), 0)
	return end(append(dst, 0, 0), at)
}

// AppendBind appends a Bind without parameters, results as text.
func AppendBind(dst []byte, portal, statement string) []byte {
	dst, at := begin(dst, Bind)
	dst = append(append(dst, portal...), 0)
	dst = append(append(dst, statement...), 0)
	return end(append(dst, 0, 0, 0, 0, 0, 0), at)
}

// AppendExecute appends an Execute without a row limit.
func AppendExecute(dst []byte, portal string) []byte {
	dst, at := begin(dst, Execute)
	dst = append(append(dst, portal...), 0)
	return end(append(dst, 0, 0, 0, 0), at)
}

// AppendDescribe appends a Describe message for the statement ('S') or portal ('P') of that name.
func AppendDescribe(dst []byte, what byte, name string) []byte {
	dst, at := begin(dst, Describe)
	dst = append(dst, what)
	return end(append(append(dst, name...), 0), at)
}

// AppendClose appends a Close of a statement ('S') or portal ('P').
func AppendClose(dst []byte, what byte, name string) []byte {
	dst, at := begin(dst, Close)
	dst = append(dst, what)
	return end(append(append(dst, name...), 0), at)
}

// AppendRenamed appends a frame with another name in place of the zero-terminated one at position at, which must be there whole. Of a
// frame of size bytes that is longer than what is there, the rest is to follow unchanged.
func AppendRenamed(dst, frame []byte, size, at int, name string) []byte {
	old := bytes.IndexByte(frame[at:], 0)
	dst = append(dst, frame[0])
	dst = binary.BigEndian.AppendUint32(dst, uint32(size-1-old+len(name)))
	dst = append(append(dst, frame[HeaderSize:at]...), name...)
	return append(dst, frame[at+old:]...)
}

// AppendBody appends a message of any type with the given body.
func AppendBody(dst []byte, typ byte, body []byte) []byte {
	dst, at := begin(dst, typ)
	return end(append(dst, body...), at)
}

// AppendReady appends ReadyForQuery with the transaction state 'I', 'T' or 'E'.
func AppendReady(dst []byte, state byte) []byte {
	return append(dst, ReadyForQuery, 0, 0, 0, 5, state)
}

// AppendTag appends CommandComplete.
func AppendTag(dst []byte, tag string) []byte {
	dst, at := begin(dst, CommandComplete)
	return end(append(append(dst, tag...), 0), at)
}

// AppendParameterStatus appends a reported setting.
func AppendParameterStatus(dst []byte, name, value string) []byte {
	dst, at := begin(dst, ParameterStatus)
	dst = append(append(dst, name...), 0)
	return end(append(append(dst, value...), 0), at)
}

// AppendAuthentication appends an authentication request: its code and what follows it.
func AppendAuthentication(dst []byte, code uint32, data []byte) []byte {
	dst, at := begin(dst, Authentication)
	dst = binary.BigEndian.AppendUint32(dst, code)
	return end(append(dst, data...), at)
}

// AppendBackendKeyData appends the pid and key of a session.
func AppendBackendKeyData(dst []byte, pid uint32, key []byte) []byte {
	dst, at := begin(dst, BackendKeyData)
	dst = binary.BigEndian.AppendUint32(dst, pid)
	return end(append(dst, key...), at)
}

// textOID is the type of every column the proxy makes itself.
const textOID = 25

// AppendRowDescription appends a description of text columns.
func AppendRowDescription(dst []byte, columns []string) []byte {
	dst, at := begin(dst, RowDescription)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(columns)))
	for i, c := range columns {
		dst = append(append(dst, c...), 0)
		dst = binary.BigEndian.AppendUint32(dst, 0)         // table
		dst = binary.BigEndian.AppendUint16(dst, uint16(i)) // attribute
		dst = binary.BigEndian.AppendUint32(dst, textOID)
		dst = binary.BigEndian.AppendUint16(dst, 0xffff)     // variable length
		dst = binary.BigEndian.AppendUint32(dst, 0xffffffff) // no modifier
		dst = binary.BigEndian.AppendUint16(dst, 0)          // text
	}
	return end(dst, at)
}

// AppendDataRow appends a row of text values.
func AppendDataRow(dst []byte, values []string) []byte {
	dst, at := begin(dst, DataRow)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(values)))
	for _, v := range values {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(v)))
		dst = append(dst, v...)
	}
	return end(dst, at)
}

// Columns calls f with each column of a DataRow body; a nil value is NULL. Values alias body. It reports false for a body that is
// not one.
func Columns(body []byte, f func(i int, value []byte)) bool {
	if len(body) < 2 {
		return false
	}
	n := int(binary.BigEndian.Uint16(body))
	body = body[2:]
	for i := range n {
		if len(body) < 4 {
			return false
		}
		size := int32(binary.BigEndian.Uint32(body))
		body = body[4:]
		if size < 0 {
			f(i, nil)
			continue
		}
		if int(size) > len(body) {
			return false
		}
		f(i, body[:size:size])
		body = body[size:]
	}
	return true
}
