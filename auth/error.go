package auth

// SQLSTATE codes of login failures.
const (
	stateInvalidPassword = "28P01"
	stateInvalidAuth     = "28000"
	stateProtocol        = "08P01"
)

const seeLog = "see pgpool log for details"

// Error is a login that failed. ClientMessage, Detail and Hint are what the client may read, sent as FATAL with
// SQLSTATE; they are the same for an unknown user and for a wrong password. LogText, LogDetail and LogHint are the
// texts of Pgpool-II's manual and belong into our log only.
type Error struct {
	ClientMessage string
	Detail        string
	Hint          string
	SQLSTATE      string
	LogText       string
	LogDetail     string
	LogHint       string
}

// Error is the log's view: the log text with its detail.
func (e *Error) Error() string {
	text := e.LogText
	if text == "" {
		text = e.ClientMessage
	}
	if detail := e.LogDetail; detail != "" {
		return text + ": " + detail
	}
	return text
}

// SQLState is the code the client is sent.
func (e *Error) SQLState() string { return e.SQLSTATE }

// passwordFailed is the one answer to unknown users and wrong passwords.
func passwordFailed(user, logText, logDetail string) *Error {
	return &Error{
		ClientMessage: `password authentication failed for user "` + user + `"`,
		SQLSTATE:      stateInvalidPassword,
		LogText:       logText,
		LogDetail:     logDetail,
	}
}

// malformed is a message of the client that is not what the protocol asks for here.
func malformed(detail string) *Error {
	return &Error{
		ClientMessage: "invalid authentication packet",
		Detail:        detail,
		SQLSTATE:      stateProtocol,
		LogText:       "authentication failed",
		LogDetail:     "invalid authentication packet. " + detail,
	}
}

// serverFailed is a login to a server that cannot go on; the client had no part in it.
func serverFailed(text, detail string) *Error {
	return &Error{
		ClientMessage: text,
		Detail:        detail,
		SQLSTATE:      stateInvalidAuth,
		LogText:       text,
		LogDetail:     detail,
	}
}
