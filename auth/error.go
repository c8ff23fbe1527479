package auth

import "errors"

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

// certRequired is a client without the certificate its record asks for besides the method.
func certRequired() *Error {
	const text = "connection requires a valid client certificate"
	return &Error{ClientMessage: text, SQLSTATE: stateInvalidAuth, LogText: text}
}

// certFailed is a certificate that is missing, not verified or of somebody else.
func certFailed(user string) *Error {
	return &Error{
		ClientMessage: `certificate authentication failed for user "` + user + `"`,
		SQLSTATE:      stateInvalidAuth,
		LogText:       "CERT authentication failed",
		LogDetail:     "no valid certificate presented",
	}
}

func peerFailed(user, peer string) *Error {
	detail := "the operating system's user behind the socket is not known"
	if peer != "" {
		detail = `the operating system's user "` + peer + `" may not log in as "` + user + `"`
	}
	return &Error{
		ClientMessage: `Peer authentication failed for user "` + user + `"`,
		SQLSTATE:      stateInvalidAuth,
		LogText:       `Peer authentication failed for user "` + user + `"`,
		LogDetail:     detail,
	}
}

// notTheClients is a client that nobody has asked for anything, on a server that may know us.
func notTheClients() *Error {
	return &Error{
		ClientMessage: refusedText,
		Hint:          seeLog,
		SQLSTATE:      stateInvalidAuth,
		LogText:       refusedText,
		LogDetail:     "the server asks for nothing but has been shown pgpool's own certificate, which says nothing about the client",
		LogHint:       "set enable_pool_hba to on",
	}
}

// outsideFailed is what LDAP or PAM did not approve. To the client it reads like any wrong password.
func outsideFailed(user string, method Method, cause error) *Error {
	var e *Error
	if errors.As(cause, &e) {
		return e
	}
	text := `LDAP authentication with pgpool failed for user "` + user + `"`
	if method == MethodPAM {
		text = "failed authentication against PAM"
	}
	return passwordFailed(user, text, cause.Error())
}

// bindingFailed is a client and a server that do not see the same TLS connection, or one of which was led to believe
// so: somebody may stand between them.
func bindingFailed(detail string) *Error {
	return &Error{
		ClientMessage: "SCRAM channel binding check failed",
		Detail:        detail,
		SQLSTATE:      stateInvalidAuth,
		LogText:       "SCRAM channel binding check failed",
		LogDetail:     detail,
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
