package auth

import "bytes"

// Credential is what we log in to a server with. It prints as nothing.
type Credential struct {
	user  string
	clear string
	hash  string // md5 entry
	key   *clientKey
}

// EntryCredential uses a pool_passwd entry. One that serves for nothing gives a credential that does neither.
func EntryCredential(user string, e Entry) Credential {
	clear, _ := e.Clear()
	return Credential{user: user, clear: clear, hash: e.hash}
}

// PasswordCredential uses a password in clear.
func PasswordCredential(user, password string) Credential {
	return Credential{user: user, clear: password}
}

func (Credential) String() string { return "(credential)" }

// GoString keeps the password out of %#v.
func (Credential) GoString() string { return "auth.Credential" }

type loginState uint8

const (
	loginStart  loginState = iota // nothing asked yet
	loginWaits                    // password sent
	loginSCRAM                    // inside SCRAM
	loginProved                   // the server has shown that it knows the password too
	loginOver
)

// Login is one login to one server. It is used by one goroutine at a time and not again after an error or Done.
// Errors are *[Error]; a refusal by the server itself comes as an ErrorResponse and is the caller's to handle.
type Login struct {
	cred    Credential
	cache   *Cache
	binding []byte
	asked   ServerMethod
	state   loginState
	scram   *scramLogin
}

// NewLogin prepares a login. cache may be shared by all logins of the process. binding is the tls-server-end-point data
// of the connection to the server, nil if that is not on TLS; it is not changed.
func NewLogin(cred Credential, cache *Cache, binding []byte) *Login {
	return &Login{cred: cred, cache: cache, binding: binding, asked: Unasked}
}

// Next takes an authentication message of the server ('R'): its code and the body behind the code, which is not kept.
// Step.Body is the body of the 'p' message to send. Done means that AuthenticationOk has come, and rightly so.
func (l *Login) Next(code int32, body []byte) (Step, error) {
	step, err := l.next(code, body)
	if err != nil || step.Done {
		l.state = loginOver
	}
	return step, err
}

func (l *Login) next(code int32, body []byte) (Step, error) {
	switch l.state {
	case loginStart:
		l.asked = ServerMethod(code)
		return l.start(code, body)
	case loginSCRAM:
		return l.scramNext(code, body)
	case loginWaits, loginProved:
		if code == codeOK {
			return Step{Done: true}, nil
		}
	case loginOver:
	}
	return Step{}, badServer("authentication message out of turn")
}

func (l *Login) start(code int32, body []byte) (Step, error) {
	switch code {
	case codeOK:
		return Step{Done: true}, nil
	case codeCleartext:
		if l.cred.clear == "" {
			return Step{}, l.lacking()
		}
		l.state = loginWaits
		return Step{Send: true, Body: cstring(l.cred.clear)}, nil
	case codeMD5:
		return l.md5(body)
	case codeSASL:
		return l.scramStart(body)
	}
	return Step{}, unsupported(code)
}

func (l *Login) md5(salt []byte) (Step, error) {
	if len(salt) != 4 {
		return Step{}, badServer("md5 salt of a wrong length")
	}
	hash := l.cred.hash
	if l.cred.clear != "" {
		hash = MD5Hash(l.cred.clear, l.cred.user)
	}
	if hash == "" {
		return Step{}, l.lacking()
	}
	l.state = loginWaits
	return Step{Send: true, Body: cstring(md5Response(hash, salt))}, nil
}

// scramStart takes the list of mechanisms: strings, each with a NUL, the last one empty. The channel is bound wherever
// that is possible.
func (l *Login) scramStart(body []byte) (Step, error) {
	if l.cred.clear == "" && l.cred.key == nil {
		return Step{}, l.lacking()
	}
	plain, plus := false, false
	for _, mechanism := range bytes.Split(body, []byte{0}) {
		plain = plain || string(mechanism) == scramSHA256
		plus = plus || string(mechanism) == scramSHA256Plus
	}
	channel := channelUnbound
	switch {
	case len(l.binding) > 0 && plus:
		channel = channelBound
	case !plain:
		return Step{}, serverFailed(backendText(ServerSCRAM), "the server does not offer "+scramSHA256)
	case len(l.binding) > 0:
		channel = channelNotOffered
	}
	var err error
	if l.scram, err = newScramLogin(l, channel); err != nil {
		return Step{}, err
	}
	l.state = loginSCRAM
	return Step{Send: true, Body: l.scram.initialResponse()}, nil
}

func (l *Login) scramNext(code int32, body []byte) (Step, error) {
	switch code {
	case codeSASLContinue:
		return l.scram.serverFirst(string(body))
	case codeSASLFinal:
		if err := l.scram.serverFinal(string(body)); err != nil {
			return Step{}, err
		}
		l.state = loginProved
		return Step{}, nil
	}
	return Step{}, badServer("the server left the SCRAM exchange before its end")
}

// Resume follows a Step with Work.
func (l *Login) Resume() (Step, error) {
	if l.state != loginSCRAM {
		return Step{}, badServer("authentication message out of turn")
	}
	step, err := l.scram.clientFinal()
	if err != nil {
		l.state = loginOver
	}
	return step, err
}

func (l *Login) lacking() *Error {
	return noPassword(Facts{User: l.cred.user, Server: l.asked}, Identity{By: ByTrust})
}

// badServer is a server that breaks the protocol of its own login.
func badServer(detail string) *Error {
	const text = "failed to authenticate with backend"
	return &Error{ClientMessage: text, Detail: detail, SQLSTATE: stateProtocol, LogText: text, LogDetail: detail}
}

func cstring(s string) []byte {
	b := make([]byte, len(s)+1)
	copy(b, s)
	return b
}
