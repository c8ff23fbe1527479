package auth

import "strings"

// Facts are what is known about a login before the client is asked anything.
type Facts struct {
	User string

	// HBA is enable_pool_hba; Rule then is the record that matched. Only [Decide] looks at it.
	HBA  bool
	Rule Rule

	// TLS: the client has come by TLS, showing Cert. Peer is the operating system's user at the other end of a Unix
	// socket, "" if unknown. Idents is what the map= of records refers to.
	TLS    bool
	Cert   ClientCert
	Peer   string
	Idents *Idents

	// Roles are those the user is a member of, itself included, where the maps need them.
	Roles []string

	// Entry is the user's in pool_passwd or as auth_query gave it, or the zero value. An entry that has expired is none.
	Entry Entry

	// Verifiers: entries come from servers, so nearly all are SCRAM verifiers. Under md5 a user without an entry then is
	// asked for SCRAM as those with one are.
	Verifiers bool

	// AllowClearText is allow_clear_text_frontend_auth.
	AllowClearText bool

	// Server is what a server asks: of a connection opened for this login, or as remembered with an idle one that
	// might be reused. Unasked if there is neither so far.
	Server ServerMethod
}

// ClientCert is the certificate a client has shown in its TLS handshake; the zero value is none. Verified: its chain
// and the revocation lists were checked against ssl_ca_cert. CN and DN are its subject's common name and its whole
// distinguished name in the form of RFC 2253; empty where it has none.
type ClientCert struct {
	Presented, Verified bool
	CN, DN              string
}

// Ask is the challenge sent to a client.
type Ask uint8

// The challenges.
const (
	AskNothing Ask = iota
	AskCleartext
	AskMD5
	AskSCRAM
)

func (a Ask) String() string {
	switch a {
	case AskNothing:
		return "nothing"
	case AskCleartext:
		return "cleartext"
	case AskMD5:
		return "md5"
	case AskSCRAM:
		return "SCRAM"
	}
	return "nothing"
}

// Judge says who decides whether the client's answer is right.
type Judge uint8

// The judges. JudgeServer: a server is logged in to with exactly what the client sent, or it matches the [Proof] of a
// connection that was; until then the client is nobody. JudgeOutside: LDAP or PAM, by [Party].Check.
const (
	JudgeNobody Judge = iota
	JudgeEntry
	JudgeServer
	JudgeOutside
)

// Plan is what to do with a client.
type Plan struct {
	Ask   Ask
	Judge Judge

	// NeedServer: nothing can be said before Facts.Server is known. Find an idle connection or open one up to its
	// first authentication message, then decide again. Nothing else in the Plan is set.
	NeedServer bool

	// Unasked is the client's identity where Ask is AskNothing.
	Unasked Identity

	doomed *Error // the exchange cannot succeed; its outcome once it is over
	method Method // whose answer Party.Check gives: LDAP or PAM
	keep   bool   // what Party.Check approved may be tried on servers
}

// By says what a client's identity rests on.
type By uint8

// Grounds of an identity. ByServer is set with [Identity.ProvedBy].
const (
	ByNothing By = iota // not shown, or not yet
	ByTrust             // a record with method trust
	ByEntry             // compared with pool_passwd
	ByServer            // a server took the client's password
	ByOther             // certificate, peer, LDAP or PAM
)

// Identity is what a client has shown. It may carry the password the client sent, or the key recovered from its SCRAM
// exchange, and never prints them.
type Identity struct {
	By   By
	sent string
	key  *clientKey
}

// Sent is the password as the client sent it in clear, if it did.
func (id Identity) Sent() (string, bool) { return id.sent, id.sent != "" }

// ProvedBy is the identity after a login to a server succeeded with the given source: the client's own password,
// accepted by a server that asked for one, is proof. Call it after every [Login].
func (id Identity) ProvedBy(server ServerMethod, source Source) Identity {
	if source == SourceClient && !server.silent() && id.By == ByNothing {
		id.By = ByServer
	}
	return id
}

func (id Identity) String() string {
	switch id.By {
	case ByTrust:
		return "by trust"
	case ByEntry:
		return "by pool_passwd"
	case ByServer:
		return "by server"
	case ByOther:
		return "by other means"
	case ByNothing:
	}
	return "not shown"
}

// GoString keeps the password out of %#v.
func (id Identity) GoString() string { return "auth.Identity(" + id.String() + ")" }

// Decide says what to ask a client (manual: client authentication; the combinations are the matrix in the tests). The
// error, if any, is an *[Error] to be sent at once.
func Decide(f Facts) (Plan, error) {
	if f.HBA {
		return decideByRule(f)
	}
	return decideByServer(f)
}

func decideByRule(f Facts) (Plan, error) {
	if err := f.certificateLacking(); err != nil {
		return Plan{}, err
	}
	switch f.Rule.Method {
	case MethodTrust:
		return decideUnasked(f, ByTrust), nil
	case MethodPassword:
		return f.decidePassword(), nil
	case MethodMD5:
		return f.decideMD5(), nil
	case MethodSCRAM:
		return f.byEntry(AskSCRAM, f.Entry.CanSCRAM()), nil
	case MethodCert:
		if !f.certified() {
			return Plan{}, certFailed(f.User)
		}
		return decideUnasked(f, ByOther), nil
	case MethodPeer:
		if !f.known(f.Peer) {
			return Plan{}, peerFailed(f.User, f.Peer)
		}
		return decideUnasked(f, ByOther), nil
	case MethodLDAP:
		return f.byOutside(f.Rule.LDAP.BackendUsePasswd || f.AllowClearText), nil
	case MethodPAM:
		return f.byOutside(false), nil
	case MethodReject:
	}
	return Plan{}, &Error{ClientMessage: refusedText, Hint: seeLog, SQLSTATE: stateInvalidAuth, LogText: refusedText}
}

// certificateLacking is the option clientcert, whatever the method.
func (f Facts) certificateLacking() error {
	valid := f.TLS && f.Cert.Presented && f.Cert.Verified
	switch check := f.Rule.ClientCert; {
	case f.Rule.Method == MethodReject, check == ClientCertNone, f.Rule.Method == MethodCert:
		return nil
	case !valid:
		return certRequired()
	case check == ClientCertVerifyFull && !f.certified():
		return certFailed(f.User)
	}
	return nil
}

// certified reports whether the client's certificate says that it is the user.
func (f Facts) certified() bool {
	if !f.TLS || !f.Cert.Presented || !f.Cert.Verified {
		return false
	}
	if f.Rule.ClientName == ClientNameDN {
		return f.known(f.Cert.DN)
	}
	return f.known(f.Cert.CN)
}

// known reports whether a name from outside is the user's: by exact case, or as the record's map says.
func (f Facts) known(name string) bool {
	if name == "" || strings.ContainsRune(name, 0) {
		return false
	}
	return f.Idents.Allows(f.Rule.Map, name, f.User, f.Roles...)
}

func (f Facts) decidePassword() Plan {
	if !f.Entry.Present() {
		return Plan{Ask: AskCleartext, Judge: JudgeServer}
	}
	return f.byEntry(AskCleartext, f.Entry.CanCleartext())
}

// decideMD5 asks users that have a SCRAM verifier for SCRAM: it is no less than the record wants.
func (f Facts) decideMD5() Plan {
	if f.Entry.Kind() == EntrySCRAM || f.Verifiers && !f.Entry.Present() {
		return f.byEntry(AskSCRAM, f.Entry.CanSCRAM())
	}
	return f.byEntry(AskMD5, f.Entry.CanMD5())
}

// byOutside asks for a password that LDAP or PAM judges. keep tells that it may be tried on servers too.
func (f Facts) byOutside(keep bool) Plan {
	return Plan{Ask: AskCleartext, Judge: JudgeOutside, method: f.Rule.Method, keep: keep}
}

// decideUnasked asks nothing of a client that needs to show no password, but where a server wants one that only the
// client can know.
func decideUnasked(f Facts, by By) Plan {
	welcome := Plan{Unasked: Identity{By: by}}
	if !f.AllowClearText || f.Entry.Present() {
		return welcome
	}
	switch f.Server {
	case Unasked:
		return Plan{NeedServer: true}
	case ServerPassword:
		return Plan{Ask: AskCleartext, Judge: JudgeServer}
	case ServerCert, ServerTrust, ServerMD5, ServerSCRAM:
	}
	return welcome
}

// decideByServer is enable_pool_hba = off: the client is asked what the server asks.
func decideByServer(f Facts) (Plan, error) {
	switch f.Server {
	case Unasked:
		return Plan{NeedServer: true}, nil
	case ServerTrust:
		return Plan{}, nil
	case ServerCert:
		return Plan{}, notTheClients()
	case ServerPassword:
		return f.decidePassword(), nil
	case ServerMD5, ServerSCRAM:
		return decideHashed(f), nil
	}
	return Plan{}, unsupported(int32(f.Server))
}

// decideHashed is a server that asks md5 or SCRAM: the exchange cannot be passed through, so either pool_passwd knows
// a password, or the client may be asked for it in clear.
func decideHashed(f Facts) Plan {
	ask, serves := AskMD5, f.Entry.CanMD5()
	if f.Server == ServerSCRAM {
		ask, serves = AskSCRAM, f.Entry.CanSCRAM() // a verifier: the key that the exchange yields
	}
	switch {
	case serves:
		return f.byEntry(ask, true)
	case f.AllowClearText && !f.Entry.Present():
		return Plan{Ask: AskCleartext, Judge: JudgeServer}
	case f.AllowClearText && f.Entry.CanCleartext(): // md5 entry and SCRAM server, or the reverse
		return f.byEntry(AskCleartext, true)
	}
	plan := f.byEntry(ask, false)
	if !f.Entry.Undecryptable() {
		plan.doomed = passwordFailed(f.User, backendText(f.Server), "valid password not found")
	}
	return plan
}

// byEntry asks for what pool_passwd knows. An entry that does not serve dooms the exchange, which runs all the same:
// a client must not learn from its course which users have entries.
func (f Facts) byEntry(ask Ask, serves bool) Plan {
	plan := Plan{Ask: ask, Judge: JudgeEntry}
	if !serves {
		plan.doomed = f.entryProblem(ask)
	}
	return plan
}

func (f Facts) entryProblem(ask Ask) *Error {
	text, fit := "clear text authentication failed",
		"password type stored in pool_passwd can't be used for clear text authentication"
	switch ask {
	case AskMD5:
		text, fit = "md5 authentication failed", `pool_passwd file does not contain valid md5 entry for "`+f.User+`"`
	case AskSCRAM:
		text, fit = "SCRAM authentication failed", `pool_passwd file does not contain valid SCRAM entry for "`+f.User+`"`
	case AskCleartext, AskNothing:
	}
	switch {
	case f.Entry.Undecryptable():
		e := passwordFailed(f.User, text, ErrDecrypt.Error())
		e.LogHint = keyHint
		return e
	case !f.Entry.Present():
		return passwordFailed(f.User, text, `pool_passwd file does not contain an entry for "`+f.User+`"`)
	}
	return passwordFailed(f.User, text, fit)
}

const (
	refusedText = "client authentication failed"
	keyHint     = "verify the valid pool_key exists"
)
