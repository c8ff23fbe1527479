package pgwire

import (
	"github.com/jackc/pgx/v5/pgproto3"
)

// Fields are the parts of an ErrorResponse or NoticeResponse that the proxy reads or writes.
type Fields struct {
	Severity string // ERROR, FATAL, PANIC, WARNING, NOTICE, ...
	Code     string // SQLSTATE
	Message  string
	Detail   string
	Hint     string
	Routine  string // the function in the server's source, by which some drivers know an error
}

// AppendError appends an ErrorResponse. PostgreSQL ends the connection after FATAL and PANIC.
func AppendError(dst []byte, f Fields) []byte {
	return encode(dst, &pgproto3.ErrorResponse{
		Severity: f.Severity, SeverityUnlocalized: f.Severity, Code: f.Code,
		Message: f.Message, Detail: f.Detail, Hint: f.Hint, Routine: f.Routine,
	})
}

// AppendNotice appends a NoticeResponse.
func AppendNotice(dst []byte, f Fields) []byte {
	return encode(dst, &pgproto3.NoticeResponse{
		Severity: f.Severity, SeverityUnlocalized: f.Severity, Code: f.Code,
		Message: f.Message, Detail: f.Detail, Hint: f.Hint,
	})
}

func encode(dst []byte, m pgproto3.Message) []byte {
	out, err := m.Encode(dst)
	if err != nil { // only a message beyond 1 GB
		return dst
	}
	return out
}

// ReadFields reads the fields of an error or notice body, as far as the body goes: a cut body yields what it holds.
func ReadFields(body []byte) Fields {
	var f Fields
	for len(body) > 1 && body[0] != 0 {
		code := body[0]
		value, rest, ok := CString(body[1:])
		if !ok {
			value, rest = body[1:], nil
		}
		switch code {
		case 'S':
			if f.Severity == "" {
				f.Severity = string(value)
			}
		case 'V': // never localized, so it wins
			f.Severity = string(value)
		case 'C':
			f.Code = string(value)
		case 'M':
			f.Message = string(value)
		case 'D':
			f.Detail = string(value)
		case 'H':
			f.Hint = string(value)
		case 'R':
			f.Routine = string(value)
		}
		body = rest
	}
	return f
}
