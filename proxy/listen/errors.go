package listen

// Error is why a session cannot listen, in words for its client.
type Error struct {
	Code    string // SQLSTATE
	Message string
	Detail  string
	Hint    string
}

func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Message + ": " + e.Detail
	}
	return e.Message
}

// SQLState is the code PostgreSQL would use.
func (e *Error) SQLState() string { return e.Code }

// MaxChannels bounds the channels of one session; the commands of its open transaction count as channels.
const MaxChannels = 10000

// maxActions bounds the commands of one transaction.
const maxActions = 2 * MaxChannels

func tooMany() error {
	return &Error{
		Code: "53400", Message: "too many LISTEN or UNLISTEN in one session",
		Hint: "A session can listen to 10000 channels, the commands of its open transaction included.",
	}
}

// cannotListen is a LISTEN that no server has confirmed.
func cannotListen(code string, cause error) *Error {
	e := &Error{Code: code, Message: "LISTEN is not in force: no server has confirmed it"}
	if cause != nil {
		e.Detail = cause.Error()
	}
	return e
}

func overflowed() *Error {
	return &Error{
		Code: "53400", Message: "terminating connection because too many notifications wait for the client",
		Hint: "Read notifications as they come, and keep transactions short in sessions that listen.",
	}
}

func abandoned() *Error {
	return &Error{Code: "57P01", Message: "terminating connection because notifications can no longer be received"}
}
