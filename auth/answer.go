package auth

import "strconv"

// Source says whose password opened a server connection.
type Source uint8

// Sources. SourceNone: the server asked for nothing.
const (
	SourceNone Source = iota
	SourceEntry
	SourceClient
	SourceKey // the client's SCRAM key, passed through
)

func (s Source) String() string {
	switch s {
	case SourceNone:
		return "none"
	case SourceEntry:
		return "pool_passwd"
	case SourceClient:
		return "client"
	case SourceKey:
		return "client's key"
	}
	return "none"
}

// Opened is kept with a server connection: how it was logged in. Proof is set where Source is SourceClient.
type Opened struct {
	Server ServerMethod
	Source Source
	Proof  Proof
}

// Answer picks what to log in to a server with. f.Server is what that server asks. The entry comes first, then the key
// of the client's SCRAM exchange, then the client's own password. The error is an *[Error]; it refuses
//
//   - a client that so far has shown nothing, on a server that would let anybody in, where the rules want a password, or
//     that may have let us in for our own certificate;
//   - a client that has shown nothing because another server asked for nothing, on a server that asks.
func Answer(f Facts, id Identity) (Credential, Source, error) {
	if !f.Server.Supported() {
		return Credential{}, SourceNone, unsupported(int32(f.Server))
	}
	sent, hasSent := id.Sent()
	if f.Server.silent() {
		if id.By == ByNothing && !hasSent && f.Server == ServerCert {
			return Credential{}, SourceNone, notTheClients()
		}
		if id.By == ByNothing && hasSent {
			return Credential{}, SourceNone, passwordFailed(f.User, "clear text authentication failed",
				"the server asks for no password, so nobody can tell whether the client's is right")
		}
		return Credential{user: f.User}, SourceNone, nil
	}
	if (id.By == ByTrust || id.By == ByEntry || id.By == ByOther) && f.Entry.Serves(f.Server) {
		return EntryCredential(f.User, f.Entry), SourceEntry, nil
	}
	if f.Server == ServerSCRAM && id.key != nil {
		return Credential{user: f.User, key: id.key}, SourceKey, nil
	}
	if hasSent {
		return PasswordCredential(f.User, sent), SourceClient, nil
	}
	return Credential{}, SourceNone, noPassword(f, id)
}

// noPassword is a login that ends for want of a password.
func noPassword(f Facts, id Identity) *Error {
	text, detail := backendText(f.Server), "valid password not found"
	if f.Server == ServerPassword {
		text, detail = "clear text password authentication failed", "unable to get the password"
	}
	if id.By == ByNothing { // nothing shown: it reads like a wrong password
		return passwordFailed(f.User, text, "the client has shown no password, but this server asks for one")
	}
	e := serverFailed(text, detail)
	if f.Entry.Undecryptable() {
		e.LogDetail, e.LogHint = ErrDecrypt.Error(), keyHint
	}
	return e
}

// MayReuse reports whether an idle connection of the client's user may serve it. Reuse never skips the client's own
// proof: what it has shown must be enough to open such a connection itself. A match with the connection's proof is
// such a showing: proved is the identity to go on with.
func MayReuse(f Facts, id Identity, o Opened) (proved Identity, ok bool) {
	if sent, has := id.Sent(); has && o.Source == SourceClient && o.Proof.Matches(sent) {
		return id.ProvedBy(o.Server, SourceClient), true
	}
	switch id.By {
	case ByEntry:
		return id, true
	case ByTrust, ByOther:
		return id, o.Server.silent() || f.Entry.Serves(o.Server)
	case ByServer:
		return id, o.Server.silent()
	case ByNothing:
		_, has := id.Sent()
		return id, o.Server == ServerTrust && !f.HBA && !has
	}
	return id, false
}

func backendText(m ServerMethod) string {
	if m == ServerPassword {
		return "clear text password authentication failed"
	}
	return "failed to authenticate with backend using " + m.String()
}

func unsupported(code int32) *Error {
	return serverFailed("failed to authenticate with backend",
		"unsupported auth kind received from backend: authkind:"+strconv.Itoa(int(code)))
}
