package wirescript

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Difference is something in which a proxy's answers may differ from a server's.
type Difference struct {
	Name string
	// Reason tells why that is right.
	Reason string
	// Optional ones count only in scripts that name them with allow.
	Optional bool

	// erase takes the difference out of a message, in both transcripts; it reports whether the message stays at all.
	erase func(m pgproto3.BackendMessage) (keep bool)
}

// Differences is the whole list. What is not on it has to be equal.
func Differences() []Difference {
	return []Difference{
		{
			Name:   "process number and cancel key",
			Reason: "every server process has its own; the key is the proxy's, so that it finds the session",
			erase: onKeyData(func(m *pgproto3.BackendKeyData) {
				m.ProcessID = 0
			}),
		},
		{
			Name:   "sender of a notification",
			Reason: "the process number of whichever server process sent it",
			erase: func(m pgproto3.BackendMessage) bool {
				if n, ok := m.(*pgproto3.NotificationResponse); ok {
					n.PID = 0
				}
				return true
			},
		},
		{
			Name:   "place in the source",
			Reason: "file, line and routine name PostgreSQL's source; an error the proxy gives in a server's place has none",
			erase: onError(func(m *pgproto3.ErrorResponse) {
				m.File, m.Line, m.Routine = "", 0, ""
			}),
		},
		{
			Name:   "numbers of tables",
			Reason: "each target has tables of its own",
			erase: func(m pgproto3.BackendMessage) bool {
				if t, ok := m.(*pgproto3.RowDescription); ok {
					for i := range t.Fields {
						t.Fields[i].TableOID = min(t.Fields[i].TableOID, 1)
					}
				}
				return true
			},
		},
		{
			Name:   "end of a server process",
			Reason: "the proxy adds what that means for the session",
			erase: onError(func(m *pgproto3.ErrorResponse) {
				if m.Code == "57P01" || m.Code == "57P02" {
					m.Detail = ""
				}
			}),
		},
		{
			Name: "longer-key", Optional: true,
			Reason: "protocol 3.2 is the proxy's to speak whatever its servers know: it negotiates nothing down and has longer cancel keys",
			erase: func(m pgproto3.BackendMessage) bool {
				if k, ok := m.(*pgproto3.BackendKeyData); ok {
					k.SecretKey = nil
				}
				_, negotiated := m.(*pgproto3.NegotiateProtocolVersion)
				return !negotiated
			},
		},
		{
			Name: "newest-version", Optional: true,
			Reason: "the newest version the proxy speaks is 3.2 whatever its servers know",
			erase: func(m pgproto3.BackendMessage) bool {
				if v, ok := m.(*pgproto3.NegotiateProtocolVersion); ok {
					v.NewestMinorProtocol = 0
				}
				if k, ok := m.(*pgproto3.BackendKeyData); ok {
					k.SecretKey = nil
				}
				return true
			},
		},
		{
			Name: "late-welcome", Optional: true,
			Reason: "a server says AuthenticationOk before it finds that it has to refuse; the proxy knows by then",
			erase: func(m pgproto3.BackendMessage) bool {
				_, welcome := m.(*pgproto3.AuthenticationOk)
				return !welcome
			},
		},
		{
			Name: "last-words", Optional: true,
			Reason: "what a client is told before its connection is closed for a breach of the protocol; a server may close without " +
				"a word, or say something after the client's goodbye",
			erase: func(m pgproto3.BackendMessage) bool {
				e, ok := m.(*pgproto3.ErrorResponse)
				return !ok || e.Code != "08P01"
			},
		},
		{
			Name: "own-words", Optional: true,
			Reason: "the proxy refuses this itself, with the SQLSTATE of PostgreSQL and its own words",
			erase: onError(func(m *pgproto3.ErrorResponse) {
				m.Message, m.Detail, m.Hint, m.Position = "", "", "", 0
			}),
		},
		{
			Name: "copy-line", Optional: true,
			Reason: "how much of the data had arrived when a cancel request did is a matter of chance",
			erase: onError(func(m *pgproto3.ErrorResponse) {
				if strings.HasPrefix(m.Where, "COPY ") {
					m.Where = "COPY"
				}
			}),
		},
		{
			Name: "failed-statement", Optional: true,
			Reason: "in a failed transaction the proxy answers, and tells the statement as Pgpool-II does",
			erase: onError(func(m *pgproto3.ErrorResponse) {
				if m.Code == "25P02" {
					m.Detail = ""
				}
			}),
		},
	}
}

func onKeyData(f func(*pgproto3.BackendKeyData)) func(pgproto3.BackendMessage) bool {
	return func(m pgproto3.BackendMessage) bool {
		if k, ok := m.(*pgproto3.BackendKeyData); ok {
			f(k)
		}
		return true
	}
}

func onError(f func(*pgproto3.ErrorResponse)) func(pgproto3.BackendMessage) bool {
	return func(m pgproto3.BackendMessage) bool {
		switch e := m.(type) {
		case *pgproto3.ErrorResponse:
			f(e)
		case *pgproto3.NoticeResponse:
			f((*pgproto3.ErrorResponse)(e))
		}
		return true
	}
}

// erase takes all differences that count for a script out of a message.
func (s *Script) erase(m pgproto3.BackendMessage) (keep bool) {
	keep = true
	for _, d := range Differences() {
		if d.Optional && !slices.Contains(s.Allow, d.Name) {
			continue
		}
		keep = d.erase(m) && keep
	}
	return keep
}
